"""The command `schedules-async`; `python -m schedules_async` is the same."""

import sys
from collections.abc import Sequence

try:
    from schedules_async.cli.commands import run
except ModuleNotFoundError as _missing:
    if _missing.name not in ("click", "rich"):
        raise

    def run(words: Sequence[str]) -> int:
        """Print how to install the command."""
        del words
        sys.stderr.write("schedules-async: the command needs its extra: pip install 'schedules-async[cli]'\n")
        return 2


def main() -> int:
    """Run the command with the arguments of the process and return its exit code."""
    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
