"""Whole commands: :func:`run` runs one as its file does, but in the test's own process, where imports are paid once."""

import contextlib
import io
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass

from trainer.command_line import run_command


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    output: str
    errors: str

    @property
    def complaint(self) -> str:
        """The one line of complaint; libraries may draw their progress bars beside it."""
        lines = [line for line in self.errors.replace("\r", "\n").splitlines() if "error:" in line.lower()]
        assert len(lines) == 1, self.errors
        assert lines[0].startswith("error: ")
        return lines[0]


def run(main: Callable[[list[str]], int | None], *arguments: object) -> Outcome:
    """Call a command's ``main`` with a command line; where it would end in a traceback, the error is raised."""
    logging.getLogger("datasets").setLevel(logging.CRITICAL)  # as the command's environment does
    before, output, errors = sys.argv, io.StringIO(), io.StringIO()
    sys.argv = ["command", *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            run_command(main)
    except SystemExit as left:
        assert isinstance(left.code, int)
        return Outcome(left.code, output.getvalue(), errors.getvalue())
    finally:
        sys.argv = before
    raise AssertionError("run_command ends in SystemExit")
