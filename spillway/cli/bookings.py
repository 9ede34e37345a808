"""`spillway pool book`, `bookings`, `unbook`: the calendar of a pool, so that hosts are there when people come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from spillway.cli.options import Json, Pool, Stage, Token, Url, connect
from spillway.cli.outcome import command, emit
from spillway.cli.submit import moment
from spillway.cli.table import clock, counted, table
from spillway.errors import BadInput

app = typer.Typer(rich_markup_mode=None)

BookingId = Annotated[str, typer.Argument(metavar="ID", help="The booking's id, e.g. cs101-midterm.")]


@app.command()
@command
def book(
    name: Pool,
    booking: BookingId,
    title: Annotated[str, typer.Option(help="What it is, e.g. 'Midterm in CS 101'.")],
    starts: Annotated[
        str, typer.Option("--from", metavar="TIME", help="2026-12-01T14:00, in this machine's zone unless it says one.")
    ],
    ends: Annotated[str, typer.Option("--to", metavar="TIME", help="When it is over.")],
    people: Annotated[int | None, typer.Option(min=1, help="How many people come.")] = None,
    hosts: Annotated[int | None, typer.Option(min=1, help="How many hosts are to be there, instead.")] = None,
    jobs_per_person_h: Annotated[
        float | None, typer.Option("--jobs-per-person-h", help="What one of them submits in an hour (else the pool's).")
    ] = None,
    url: Url = None,
    token: Token = None,
    stage: Stage = None,
    as_json: Json = False,
) -> None:
    """Book capacity ahead: hosts are there when it begins. The same ID again replaces."""
    if (people is None) == (hosts is None):
        raise BadInput("Say either --people or --hosts.")
    with connect(url, token, stage) as spillway:
        made = spillway.book(
            name,
            booking,
            title=title,
            starts_at=moment(starts, "--from"),
            ends_at=moment(ends, "--to"),
            people=people or 0,
            hosts=hosts,
            jobs_per_person_h=jobs_per_person_h,
        )
    if as_json:
        emit(made)
    else:
        shown([made])


@app.command()
@command
def bookings(name: Pool, url: Url = None, token: Token = None, stage: Stage = None, as_json: Json = False) -> None:
    """The calendar of a pool: what is booked and not yet over."""
    with connect(url, token, stage) as spillway:
        found = spillway.bookings(name)
    if as_json:
        emit({"items": found})
    else:
        shown(found)


@app.command()
@command
def unbook(
    name: Pool,
    booking: BookingId,
    url: Url = None,
    token: Token = None,
    stage: Stage = None,
    as_json: Json = False,
) -> None:
    """Take a booking back."""
    with connect(url, token, stage) as spillway:
        left = spillway.unbook(name, booking)
    if as_json:
        emit({"items": left})
    else:
        typer.echo(f"{booking} is taken back; {counted(len(left), 'booking')} left")


def shown(found: Sequence[Mapping[str, Any]]) -> None:
    """Times in this machine's zone, as they are said to `book`."""
    rows = [
        [
            each.get("id"),
            *(clock(each[name]) if each.get(name) is not None else "" for name in ("starts_at", "ends_at")),
            each.get("people") or "",
            each.get("hosts"),
            each.get("title"),
        ]
        for each in found
    ]
    table(("id", "starts", "ends", "people", "hosts", "title"), rows)
