"""One shared polling loop per operation in use: the policy, one fetch, and the poller."""
