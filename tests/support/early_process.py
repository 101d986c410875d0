"""A program that calls functions in threads and leaves what they return in files; see `early_results`.

It reads from stdin the path of imports, then the number of threads and the functions with their files, all pickled.
After the byte FINISH it ends once all functions have returned; where stdin ends without it, no further call begins.
"""

import os
import pickle
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

FINISH = b"+"


def _leave_result(function: Callable[[], Any], path: Path) -> None:
    """Write what a function returns, or the exception that it raises, to a file that appears when it is whole."""
    try:
        result = pickle.dumps((function(), None))
    except Exception as error:
        result = pickle.dumps((None, error))
    part = path.with_suffix(".part")
    part.write_bytes(result)
    part.replace(path)


def main() -> None:
    control = os.fdopen(os.dup(0), "rb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # what the functions run must not read the pipe
    sys.path[:] = pickle.load(control)
    threads, share = pickle.load(control)
    with control, ThreadPoolExecutor(threads) as pool:
        for function, path in share:
            pool.submit(_leave_result, function, path)
        pool.shutdown(wait=False)
        pool.shutdown(cancel_futures=control.read(1) != FINISH)


if __name__ == "__main__":
    main()
