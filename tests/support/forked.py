"""Runs Python files as programs, in processes forked from one that has imported the package.

Starting an interpreter and importing the package takes three times as long as what most examples then do. Where
nothing can be forked, as on Windows, each process starts anew.
"""

import multiprocessing
import os
import runpy
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from attrs import frozen

_MAY_FORK = "forkserver" in multiprocessing.get_all_start_methods()
_CONTEXT = multiprocessing.get_context("forkserver") if _MAY_FORK else multiprocessing.get_context("spawn")
_CONTEXT.set_forkserver_preload(["schedules_async.testing"])
_LONGEST_RUN = 60  # seconds


@frozen
class Done:
    """The exit code of a program, None if it had to be ended, and the texts on stdout and stderr."""

    exit_code: int | None
    output: str
    errors: str


def _run(command: Sequence[str], folder: Path, variables: Mapping[str, str], streams: tuple[Path, Path]) -> None:
    for number, path in enumerate(streams, 1):
        os.dup2(os.open(path, os.O_WRONLY), number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    warnings.simplefilter("error")
    sys.argv[:] = command
    runpy.run_path(command[0], run_name="__main__")


def run_files(commands: Sequence[Sequence[str]], folder: Path, variables: Mapping[str, str]) -> list[Done]:
    """Run files with their arguments, all at the same time, in a folder; warnings are errors."""
    with TemporaryDirectory() as texts:
        streams = [(Path(texts, f"{number}.out"), Path(texts, f"{number}.err")) for number in range(len(commands))]
        processes = []
        for command, paths in zip(commands, streams, strict=True):
            for path in paths:
                path.touch()
            arguments = (command, folder, dict(variables), paths)
            processes.append(_CONTEXT.Process(target=_run, args=arguments, daemon=True))
            processes[-1].start()
        for process in processes:
            process.join(_LONGEST_RUN)
        codes = [process.exitcode for process in processes]
        return [Done(code, *(path.read_text() for path in paths)) for code, paths in zip(codes, streams, strict=True)]
