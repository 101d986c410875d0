"""What callers await or iterate over: waiters, the state that their consumers share, and checkpoints."""
