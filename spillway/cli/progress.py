"""Progress on stderr for whatever takes longer than a second: a bar on a terminal, plain lines elsewhere.

`--json` silences it only where stderr is not a terminal; stdout is never touched.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from spillway.records import Job

QUIET_S = 1.0  # what ends sooner needs no bar
LINE_EVERY_S = 5.0  # without a terminal: one line at most this often


class Steps:
    """A bar over `total` steps that shows itself only once the work has taken a second."""

    def __init__(self, title: str, total: int, *, lines: bool = True) -> None:
        self._title, self._total, self._lines = title, total, lines
        self._done = 0
        self._note = ""
        self._since = time.monotonic()
        self._line_at = self._since + QUIET_S
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, done: int, note: str = "") -> None:
        """`done` of the steps are made; `note` is shown beside the bar."""
        self._done, self._note = done, note
        now = time.monotonic()
        if now - self._since < QUIET_S:
            return
        if sys.stderr.isatty():
            self._draw()
        elif self._lines and now >= self._line_at:
            self._line_at = now + LINE_EVERY_S
            print(f"{self._title}: {done} of {self._total} {note}".rstrip(), file=sys.stderr, flush=True)  # noqa: T201

    def advance(self, note: str = "") -> None:
        """One more step is made."""
        self.update(self._done + 1, note)

    def _draw(self) -> None:
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[note]}"),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task(self._title, total=self._total, note="")
            self._bar.start()
        assert self._task is not None  # noqa: S101  # made together with the bar
        self._bar.update(self._task, completed=self._done, note=self._note)


class JobsProgress(Steps):
    """Steps that are jobs: `seen(job)` with every change; ended jobs are done, the note counts the states."""

    def __init__(self, title: str, total: int, *, lines: bool = True) -> None:
        super().__init__(title, total, lines=lines)
        self._states: dict[str, str] = {}
        self._ended: set[str] = set()

    def seen(self, job: Job) -> None:
        """A job has changed."""
        self._states[job.id] = job.state
        if job.ended:
            self._ended.add(job.id)
        counts = Counter(self._states.values())
        self.update(len(self._ended), " ".join(f"{n} {state}" for state, n in sorted(counts.items())))
