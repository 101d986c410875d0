"""The command `schedules-async` (extra `cli`)."""
