"""Run the command line inside the test's process, as `knedit …` would run."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from unittest.mock import patch

from knedit.cli.main import main


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


@contextmanager
def _arguments(arguments: tuple[str, ...]) -> Iterator[None]:
    with patch.object(sys, "argv", ["knedit", *arguments]):
        yield


def knedit(*arguments: str) -> Ran:
    """Return exit code, stdout and stderr of one command."""
    out, err = StringIO(), StringIO()
    code = 0
    with redirect_stdout(out), redirect_stderr(err), _arguments(arguments):
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
    return Ran(code, out.getvalue(), err.getvalue())
