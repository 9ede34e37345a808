"""`spillway owner list|show|set`: what each owner may have, so that no course eats the others' term."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from spillway.cli.options import Json, Stage, Token, Url, connect
from spillway.cli.outcome import command, emit
from spillway.cli.table import table
from spillway.errors import BadInput

owner = typer.Typer(help="Quotas of owners.", no_args_is_help=True, rich_markup_mode=None)

Owner = Annotated[str, typer.Argument(metavar="OWNER", help="The course, team or person.")]
LIMITS = {"jobs_max": int, "cpu_max": float, "usd_per_day": float}


@owner.command(name="list")
@command
def list_owners(url: Url = None, token: Token = None, stage: Stage = None, as_json: Json = False) -> None:
    """The owners that were ever given a quota."""
    with connect(url, token, stage) as spillway:
        found = spillway.owners()
    if as_json:
        emit({"items": found})
    else:
        rows = [[each["owner"], *(_limit(each, name) for name in LIMITS), each["changed_by"]] for each in found]
        table(("owner", "jobs at most", "cores at work", "USD a day", "by"), rows)


@owner.command()
@command
def show(name: Owner, url: Url = None, token: Token = None, stage: Stage = None, as_json: Json = False) -> None:
    """An owner's quota, and what of it is used. A submitter's token sees its own owner's."""
    with connect(url, token, stage) as spillway:
        found = spillway.owner(name)
    if as_json:
        emit(found)
        return
    used = found["used"]
    limits = {each: "no limit" if found[each] is None else f"at most {_limit(found, each)}" for each in LIMITS}
    typer.echo(f"{name} has {used['jobs']} jobs that have not ended; {limits['jobs_max']}")
    typer.echo(f"cores of a pool at work: {limits['cpu_max']}")
    typer.echo(f"USD today: {used['usd_today']:.2f}; {limits['usd_per_day']}")


@owner.command(name="set")
@command
def set_quota(
    name: Owner,
    limits: Annotated[
        list[str],
        typer.Argument(metavar="LIMIT=VALUE", help="jobs_max=100, cpu_max=8, usd_per_day=5; nothing after = lifts it."),
    ],
    url: Url = None,
    token: Token = None,
    stage: Stage = None,
    as_json: Json = False,
) -> None:
    """Change an owner's limits: jobs that have not ended, cores at work in a pool, money a day (UTC). Needs an operator's token."""
    changes = dict(_change(text) for text in limits)
    with connect(url, token, stage) as spillway:
        before = spillway.owner(name)
        kept = {limit: before[limit] for limit in LIMITS if before[limit] is not None}
        wanted = {limit: value for limit, value in {**kept, **changes}.items() if value is not None}
        made = spillway.put_owner(name, wanted, version=before["version"])
    if as_json:
        emit(made)
    else:
        typer.echo(f"{name}: " + ", ".join(f"{limit} {_limit(made, limit)}" for limit in LIMITS))


def _change(text: str) -> tuple[str, float | None]:
    limit, equals, value = text.partition("=")
    if not equals or limit not in LIMITS:
        raise BadInput(f"{text!r}: say one of {', '.join(f'{known}=VALUE' for known in LIMITS)}.")
    try:
        return limit, LIMITS[limit](value) if value else None
    except ValueError:
        raise BadInput(f"{text!r}: {value!r} is no number.") from None


def _limit(found: Mapping[str, Any], name: str) -> str:
    return "no limit" if found[name] is None else f"{found[name]:g}"
