"""Tests against other projects' servers, and against hostile ones."""
