"""What the commands of infra print: results on standard output, progress on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TextIO

Report = Callable[[str], None]
"""Takes one line about what is being done."""


def say(line: str, stream: TextIO | None = None) -> None:
    """One line, at once."""
    stream = stream or sys.stdout
    stream.write(line + "\n")
    stream.flush()


def progress(line: str) -> None:
    """A `Report` for people; it leaves standard output to the result."""
    say(line, sys.stderr)


def silent(line: str) -> None:
    """A `Report` for callers that show progress in their own way."""
