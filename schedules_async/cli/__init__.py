"""The command line, with the extra `cli`; built on the public surface alone."""
