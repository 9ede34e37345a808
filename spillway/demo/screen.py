"""What the demo says while it runs: one line a phase, with the time since the start; a bar for jobs."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from spillway.cli.progress import JobsProgress
from spillway.cli.table import table

if TYPE_CHECKING:
    from spillway.demo.cases import Mark


class Screen:
    """Speaks on stderr, so that `--json` keeps stdout; with `--json` the marks are not drawn."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._began = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the demo began."""
        return time.monotonic() - self._began

    def say(self, line: str) -> None:
        """One line."""
        print(f"[{self.elapsed_s:5.1f} s] {line}", file=sys.stderr, flush=True)  # noqa: T201  # this is the screen

    def detail(self, line: str) -> None:
        """One line of a step's own words, set off."""
        self.say(f"    {line}")

    @contextmanager
    def jobs(self, title: str, total: int) -> Iterator[JobsProgress]:
        """A bar over jobs."""
        with JobsProgress(title, total) as progress:
            yield progress

    def marks(self, marks: Sequence[Mark]) -> None:
        """The table of marks."""
        if self._as_json or not marks:
            return
        rows = [
            [
                mark.case.assignment,
                mark.case.submission,
                mark.job.state,
                f"{mark.score:g}",
                mark.case.mark,
                f"{(mark.job.finished_at or 0) - mark.job.started_at:.1f} s" if mark.job.started_at else "",
                mark.wrong or mark.case.why,
            ]
            for mark in sorted(marks, key=lambda mark: mark.case.name)
        ]
        table(["assignment", "submission", "state", "mark", "expected", "time", ""], rows, title="Marks")
