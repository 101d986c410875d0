"""The time to import the package, relative to that of importing aiohttp alone.

Run: python tests/benchmarks/import_cost.py [rounds]. Each round imports both from compiled files, one after the
other, in processes of their own. Prints the median of the ratios and exits with 1 if it is above the bound.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time

BOUND = 1.25


def seconds(code: str, cache: str) -> float:
    """Return the real time of one process."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, env={**environment, "PYTHONPYCACHEPREFIX": cache})
    return time.perf_counter() - started


def main() -> int:
    """Run the benchmark and print the results."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    with tempfile.TemporaryDirectory() as cache:
        measured = [
            seconds("import schedules_async", cache) / seconds("import aiohttp", cache) for _ in range(rounds + 1)
        ][1:]
    median = statistics.median(measured)
    print(f"importing schedules_async takes {median:.2f} times as long as aiohttp alone")
    print(f"({rounds} rounds from {min(measured):.2f} to {max(measured):.2f}; the bound is {BOUND})")
    return median > BOUND


if __name__ == "__main__":
    sys.exit(main())
