"""Tables for people. Where the output is not a terminal: plain, tab-separated, nothing cut off."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

import typer

STATE_COLOURS = {
    "succeeded": "green",
    "failed": "red",
    "timed_out": "red",
    "lost": "red",
    "cancelled": "yellow",
    "skipped": "yellow",
    "running": "cyan",
}


def table(headers: Sequence[str], rows: Sequence[Sequence[Any]], *, title: str | None = None) -> None:
    """Print rows under headers. None prints as nothing; states are coloured on a terminal."""
    texts = [["" if cell is None else str(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        if title:
            typer.echo(title)
        for row in [list(headers), *texts]:
            typer.echo("\t".join(cell.replace("\n", " ").replace("\t", " ") for cell in row))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(title=title, title_justify="left")
    for header in headers:
        drawn.add_column(header, overflow="fold")
    for row in texts:
        drawn.add_row(*(Text(cell, style=STATE_COLOURS.get(cell, "")) for cell in row))
    Console().print(drawn)


def ago(at: float | None) -> str:
    """`12 s`, `3 min`, `5 h`, `2 d` since then."""
    if at is None:
        return ""
    seconds = max(0.0, time.time() - at)
    for limit, divisor, unit in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / divisor:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"


def lasted(start: float | None, end: float | None) -> str:
    """The seconds from start to end (or to now), as `1.2 s`."""
    if start is None:
        return ""
    return f"{(end if end is not None else time.time()) - start:.1f} s"


def clock(at: float) -> str:
    """`2026-11-21 14:03:20`, in this machine's time zone."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def number(value: float) -> str:
    """`3`, `0.25`, `1234.5`: without digits that say nothing."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def counted(count: int, noun: str) -> str:
    """`1 host`, `3 hosts`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
