"""Environment variables of the test process."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

INHERITED = dict(os.environ)  # for processes that run beside other tests, which change `os.environ` meanwhile


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Set environment variables inside the `with` block and restore the old values after it."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            os.environ.update({} if value is None else {name: value})
