"""Tables for people. Where the output is not a terminal: plain, tab-separated, nothing cut off."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import typer

PROSE_CHARACTERS_MIN = 24  # of a table's last column
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

    console = Console()
    texts = [[harmless(cell) for cell in row] for row in texts]
    if title:
        console.print(title, markup=False)
    if _too_wide(headers, texts, console.width):
        for row in texts:
            for line in _stacked(headers, row):
                console.print(Text(line, style=_colour(row)), soft_wrap=True)
        return
    drawn = Table()
    for header in headers:
        drawn.add_column(header, overflow="fold")
    for row in texts:
        drawn.add_row(*(Text(cell, style=STATE_COLOURS.get(cell, "")) for cell in row))
    console.print(drawn)


def _too_wide(headers: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> bool:
    """Whether a table would break ids, which nobody could copy then. The last column may break, if it has a little room."""
    widest = [max(len(header), *(len(row[n]) for row in rows)) for n, header in enumerate(headers)] if rows else []
    return bool(rows) and sum(widest[:-1]) + min(widest[-1], PROSE_CHARACTERS_MIN) + 3 * len(widest) + 1 > width


def _stacked(headers: Sequence[str], row: Sequence[str]) -> Iterator[str]:
    """A row as lines of its own: what names it first, the rest behind its headers."""
    yield row[0]
    yield "  " + "  ".join(f"{header} {cell}" for header, cell in zip(headers[1:-1], row[1:-1], strict=True) if cell)
    if row[-1]:
        yield f"  {headers[-1]} {row[-1]}"


def _colour(row: Sequence[str]) -> str:
    return next((STATE_COLOURS[cell] for cell in row if cell in STATE_COLOURS), "")


def harmless(text: str) -> str:
    """Without control characters but newline and tab: what others wrote must not drive the reader's terminal."""
    return "".join(c if c in "\n\t" or c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def say(text: str) -> None:
    """Print sentences that others may have put words into; on a terminal, without control characters."""
    typer.echo(harmless(text) if sys.stdout.isatty() else text)


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
