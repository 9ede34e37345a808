"""`spillway plan POOL`: what the next look at a pool would do, and why. Nothing is done."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from spillway.cli.options import Json, Stage, Token, Url, connect
from spillway.cli.outcome import command, emit
from spillway.cli.table import clock, counted, number, say, table


@command
def plan(
    pool: Annotated[str, typer.Argument(metavar="POOL", help="The pool's name.")] = "default",
    url: Url = None,
    token: Token = None,
    stage: Stage = None,
    as_json: Json = False,
) -> None:
    """Print what a pass over a pool would do now, why, and who waits for what. It only reads."""
    with connect(url, token, stage) as spillway:
        document = spillway.plan(pool)
    if as_json:
        emit(document)
        return
    for sentence in _head(document):
        say(sentence)
    if target := document.get("target"):
        table(["variable", "value"], [[name, number(value)] for name, value in target["variables"].items()])
    actions, waits = document["actions"], document["waits"]
    if actions:
        rows = [[action["kind"], action["subject"], action["words"]] for action in actions]
        table(["action", "about", "what and why"], rows)
    if waits:
        table(["job", "waits because"], [[wait["job"], wait["reason"]] for wait in waits])
    if more := document["waits_more"]:
        typer.echo(f"{more} more wait.")


def _head(document: Mapping[str, Any]) -> list[str]:
    target, backlog, wake_at = document.get("target"), document["backlog"], document.get("wake_at")
    seen = max(
        backlog["seen"], len(document["waits"]) + document["waits_more"]
    )  # whom a quota holds is not among the seen
    waiting = f"{seen} {'job waits' if seen == 1 else 'jobs wait'}"
    if not backlog["complete"]:
        waiting = f"more than {waiting}"
    count = len(document["actions"])
    zone = time.strftime("%Z", time.localtime(document["at"]))  # the sentences below it say UTC
    lines = [f"{document['pool']} at {clock(document['at'])} {zone}: {waiting} in its queue."]
    if target is not None:
        lines.append(f"Wanted: {counted(target['hosts'], 'host')}. {target['why']}")
    if document["listed"] is None:
        lines.append("EC2 did not answer: what a look would conclude from its list is missing here.")
    else:
        lines.append(f"EC2 lists {counted(document['listed'], 'instance')} of it.")
    lines += document.get("supply", ())
    lines.append(
        f"{count} {'action' if count == 1 else 'actions'} would be done." if count else "Nothing would be done."
    )
    if wake_at is not None:
        lines.append(f"The next look falls due at {clock(wake_at)} {zone}, in {max(0.0, wake_at - time.time()):.0f} s.")
    return lines
