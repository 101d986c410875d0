"""Tests against servers that nobody here wrote, and against servers that nobody should have written."""
