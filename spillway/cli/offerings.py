"""`spillway offerings`: which instance types there are, what a job costs on them, and how to learn of newer ones."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from spillway.checkout import import_from_checkout
from spillway.cli.options import Json, Stage, Token, Url, connect
from spillway.cli.outcome import command, emit
from spillway.cli.stage import explained
from spillway.cli.table import table
from spillway.errors import BadInput

offerings = typer.Typer(
    help="Instance types by price and core speed. Needs a checkout; --market spot, refresh and add need AWS credentials.",
    invoke_without_command=True,
    rich_markup_mode=None,
)

Region = Annotated[str, typer.Option("--region", help="Where.")]


@offerings.callback(invoke_without_command=True)
@command
def list_offerings(
    context: typer.Context,
    by: Annotated[
        str, typer.Option("--by", help="Order: price (of a slot), speed (of a core), work (price ÷ speed).")
    ] = "price",
    cpu: Annotated[float | None, typer.Option(min=0.01, help="Cores that one job reserves.")] = None,
    memory: Annotated[int, typer.Option(min=1, help="MiB that one job reserves.")] = 512,
    arch: Annotated[str | None, typer.Option(help="x86_64 or arm64.")] = None,
    region: Region = "us-east-1",
    slots: Annotated[int, typer.Option(min=1, help="At least so many jobs at once on a host.")] = 1,
    slots_max: Annotated[int | None, typer.Option("--slots-max", min=1, help="At most so many.")] = None,
    market: Annotated[str, typer.Option(help="on_demand, or spot: EC2 is asked what it costs now.")] = "on_demand",
    family: Annotated[
        list[str] | None, typer.Option(help="Only this family, e.g. c7i, whatever its generation. Repeatable.")
    ] = None,
    burstable: Annotated[
        bool, typer.Option("--burstable", help="Also types that are fast only while their credits last.")
    ] = False,
    metal: Annotated[bool, typer.Option("--metal", help="Also whole machines, which take minutes to boot.")] = False,
    previous: Annotated[bool, typer.Option("--previous", help="Also previous generations.")] = False,
    pool_slots: Annotated[
        bool, typer.Option("--pool-slots", help="Count one slot a vCPU, a pool's own default, not vCPUs + 1.")
    ] = False,
    limit: Annotated[int, typer.Option(min=0, help="Rows; 0: all.")] = 20,
    as_json: Json = False,
) -> None:
    """List instance types, the cheapest job-slot first."""
    if context.invoked_subcommand is not None:
        return
    for option, value, allowed in (
        ("--by", by, ("price", "speed", "work")),
        ("--arch", arch or "x86_64", ("x86_64", "arm64")),
        ("--market", market, ("on_demand", "spot")),
    ):
        if value not in allowed:
            raise BadInput(f"{option}: {value!r} should be one of {', '.join(allowed)}.")
    import_from_checkout()
    with explained():
        from infra import offerings as catalogue

        found = catalogue.listing(
            catalogue.Wish(
                cpu=cpu,
                memory_mib=memory,
                arch=arch,
                slots=slots,
                slots_max=slots_max,
                market=market,
                families=tuple(family or ()),
                burstable=burstable,
                metal=metal,
                previous=previous,
                extra_slots=0 if pool_slots else 1,
            ),
            region,
            by,
            datetime.now(UTC) if market == "spot" else None,
        )
    if as_json:
        emit({**found, "items": found["items"][: limit or None]})
    else:
        _show(found, limit)


@offerings.command()
@command
def refresh(
    region: Region = "us-east-1",
    price_list: Annotated[
        Path | None,
        typer.Option(
            "--price-list", help="AWS's bulk price file of the region (CSV), instead of asking the price list."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write there, to look at it first (else the checkout's own file).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write this checkout's catalogue anew from EC2: its types, and prices of a region. The next deployment takes it along."""
    import_from_checkout()
    with explained():
        import boto3

        from infra import offerings as catalogue

        today = datetime.now(UTC).strftime("%Y-%m-%d")
        written = out or catalogue.FILE
        done = catalogue.refresh(boto3.session.Session(), region, today, price_list=price_list, file=written)
    if as_json:
        emit(done)
        return
    typer.echo(f"{done['file']}: {done['types']} types, prices of {', '.join(done['regions'])}")
    new = done["new"]
    typer.echo(f"{len(new)} are new{': ' if new else ''}{', '.join(new[:10])}{' …' if len(new) > 10 else ''}")
    typer.echo(f"{done['prices_changed']} prices of {region} have changed. `chalice deploy` makes the stage use them.")


@offerings.command()
@command
def add(
    types: Annotated[list[str], typer.Argument(metavar="TYPE…", help="Instance types, e.g. c9i.large.")],
    region: Region = "us-east-1",
    price: Annotated[
        float | None, typer.Option(min=0.0001, help="USD an hour on demand, instead of asking the price list.")
    ] = None,
    url: Url = None,
    token: Token = None,
    stage: Stage = None,
    as_json: Json = False,
) -> None:
    """Tell a stage of instance types that are newer than its release: pools can use them at once."""
    if price is not None and len(types) > 1:
        raise BadInput("--price is the price of one type; add the others one by one.")
    import_from_checkout()
    with explained():
        import boto3

        from infra import offerings as catalogue

        told = {name: catalogue.looked_up(boto3.session.Session(), region, name, price) for name in types}
    with connect(url, token, stage) as spillway:
        spillway.patch_settings({"types": told})
    if as_json:
        emit({"types": told})
        return
    rows = [[name, t["arch"], t["vcpus"], t["memory_mib"], t["price_usd_h"]] for name, t in told.items()]
    table(["type", "arch", "vCPUs", "MiB", "USD/h"], rows)


def _show(found: dict[str, Any], limit: int) -> None:
    items = found["items"]
    price = "spot, the cheapest zone" if found["market"] == "spot" else "on demand"
    typer.echo(
        f"Linux {price}, {found['as_of']}; slots: {found['slots_per_host']}, as far as cores and memory hold the jobs"
    )
    if found["price_region"] != found["region"]:
        typer.echo(
            f"The catalogue has no prices of {found['region']}: these are {found['price_region']}'s, and not every type is sold there. "
            f"`spillway offerings refresh --region {found['region']}` asks EC2."
        )
    if any(each["arch"] != "x86_64" for each in items[: limit or None]):
        typer.echo(
            "arm64 needs an image of its own (a stage's is x86_64) and programs built for it; --arch x86_64 leaves it out."
        )
    if not items:
        typer.echo("No type does all that was asked for. --burstable, --previous and --metal let in more.")
        return
    heads = ("type", "arch", "vCPUs", "cores", "GiB", "speed", "slots", "USD/h", "USD/slot h", "USD/work h")
    table(heads, [_cells(each) for each in items[: limit or None]])
    if limit and len(items) > limit:
        typer.echo(f"{len(items) - limit} more; --limit 0 shows all.")


def _cells(each: dict[str, Any]) -> list[Any]:
    """Speed 1.00 is a c7i's vCPU; "~": taken from another family with the same processor."""
    speed = "" if each["speed"] is None else f"{'' if each['speed_measured'] else '~'}{each['speed']:.2f}"
    work = "" if each["usd_work_h"] is None else f"{each['usd_work_h']:.5f}"
    return [
        each["instance_type"],
        each["arch"],
        each["vcpus"],
        each["cores"],
        f"{each['memory_mib'] / 1024:g}",
        speed,
        each["slots"],
        f"{each['usd_h']:g}",
        f"{each['usd_slot_h']:.5f}",
        work,
    ]
