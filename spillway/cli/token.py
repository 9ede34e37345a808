"""`spillway token create|list|revoke`: who may do what, for admins."""

from __future__ import annotations

from typing import Annotated

import typer

from spillway.cli.options import Json, Stage, Token, Url, connect
from spillway.cli.outcome import command, emit
from spillway.cli.table import clock, table

token = typer.Typer(
    help="Make, list and revoke bearer tokens. Needs an admin's token.", no_args_is_help=True, rich_markup_mode=None
)

NEVER_DAYS = 0


@token.command()
@command
def create(
    owner: Annotated[str, typer.Argument(metavar="OWNER", help="The course, team or person whose jobs it submits.")],
    role: Annotated[
        str,
        typer.Option(
            help="submitter (its own owner's jobs), operator (all jobs, pools, owners) or admin (tokens too)."
        ),
    ] = "submitter",
    days: Annotated[
        int, typer.Option(min=NEVER_DAYS, max=3650, help="How long it is good for; 0: until revoked.")
    ] = 365,
    note: Annotated[str, typer.Option(help="What it is for, e.g. 'the LMS of the maths department'.")] = "",
    url: Url = None,
    token: Token = None,
    stage: Stage = None,
    as_json: Json = False,
) -> None:
    """Make a token. It is shown this once; only its SHA-256 is kept."""
    with connect(url, token, stage) as spillway:
        made = spillway.create_token(owner, role=role, days=days or None, note=note)
    if as_json:
        emit(made)
        return
    typer.echo(made["token"])
    until = clock(made["expires_at"]) if made["expires_at"] else "it is revoked"
    typer.echo(f"{made['id']}: {made['role']} of {made['owner']} until {until}. Shown this once.", err=True)


@token.command(name="list")
@command
def list_tokens(url: Url = None, token: Token = None, stage: Stage = None, as_json: Json = False) -> None:
    """The tokens that can be used still, oldest first; their last use is known to the hour."""
    with connect(url, token, stage) as spillway:
        found = spillway.tokens()
    if as_json:
        emit({"items": found})
        return
    rows = [
        [
            each["id"],
            each["role"],
            each["owner"],
            *(clock(each[name]) if each[name] else "never" for name in ("created_at", "expires_at", "used_at")),
            each["created_by"],
            each["note"],
        ]
        for each in found
    ]
    table(("id", "role", "owner", "created", "expires", "used", "by", "note"), rows)


@token.command()
@command
def revoke(
    ids: Annotated[list[str], typer.Argument(metavar="ID", help="The ids of tokens, as `list` shows them.")],
    url: Url = None,
    token: Token = None,
    stage: Stage = None,
    as_json: Json = False,
) -> None:
    """Revoke tokens: within a minute they open nothing any more."""
    with connect(url, token, stage) as spillway:
        gone = [spillway.revoke_token(each) for each in ids]
    if as_json:
        emit({"items": gone})
        return
    for each in gone:
        typer.echo(f"{each['id']} is revoked: {each['role']} of {each['owner']}, gone in {each['within_s']} s at most")
