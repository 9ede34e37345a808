"""`spillway why JOB|HOST` and `spillway story SUBJECT`: why things are as they are, and what happened to them."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from spillway.cli.options import Json, Stage, Token, Url, connect
from spillway.cli.outcome import command, emit
from spillway.cli.table import ago, clock, say, table


@command
def why(
    subject: Annotated[str, typer.Argument(metavar="JOB|HOST", help="A job's or a host's id.")],
    url: Url = None,
    token: Token = None,
    stage: Stage = None,
    as_json: Json = False,
) -> None:
    """Tell in sentences why a job or a host is where it is, what comes next, and what went before."""
    with connect(url, token, stage) as spillway:
        answer = spillway.why(subject)
    if as_json:
        emit(dataclasses.asdict(answer))
        return
    for sentence in answer.sentences:
        say(sentence)


@command
def story(
    subject: Annotated[
        str, typer.Argument(metavar="SUBJECT", help="A job's or a host's id, a pool's name, or: settings.")
    ],
    url: Url = None,
    token: Token = None,
    stage: Stage = None,
    as_json: Json = False,
) -> None:
    """Tell what happened to a job, a host or a pool, line by line, oldest first."""
    with connect(url, token, stage) as spillway:
        lines = spillway.story(subject)
    if as_json:
        emit({"items": [dataclasses.asdict(line) for line in lines]})
        return
    table(["at", "ago", "event", "why"], [[clock(line.at), ago(line.at), line.event, line.reason] for line in lines])
