"""`spillway spot`: where and how a job should be bought, and how well that advice would have done. Runs the repository's own broker."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spillway.cli.options import Json
from spillway.cli.outcome import command, emit
from spillway.cli.table import say, table

if TYPE_CHECKING:
    from chalicelib.core.spot_backtest import Case
    from chalicelib.core.spot_history import Change, Market
    from chalicelib.core.spot_world import Terms

spot = typer.Typer(
    help="Spot prices: advice for a job, and a back-test of it. Needs a checkout.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

History = Annotated[
    Path | None, typer.Option("--history", help="Recorded prices: CSV or JSON, gzipped or not (else EC2 is asked).")
]
JobHours = Annotated[float, typer.Option("--job-hours", min=0.01, help="How long the job runs, uninterrupted.")]
CheckpointMin = Annotated[
    float, typer.Option("--checkpoint-min", min=0.5, help="Minutes of progress between two saves.")
]
DeadlineHours = Annotated[
    float, typer.Option("--deadline-hours", min=0.01, help="When it must have ended, from its start.")
]
SaveS = Annotated[int, typer.Option("--save-s", min=0, help="Seconds that a save takes.")]
Types = Annotated[list[str] | None, typer.Option("--type", help="Only this instance type; may be repeated.")]
ListPrice = Annotated[
    list[str] | None,
    typer.Option("--on-demand-price", help="TYPE=USD an hour, where neither history nor catalogue has it."),
]
Plot = Annotated[
    Path | None,
    typer.Option("--plot", help="Draw the job with the most hosts, its prices and windows, into this PNG or SVG."),
]


@spot.command()
@command
def backtest(
    history: Annotated[Path, typer.Option("--history", help="Recorded prices: CSV or JSON, gzipped or not.")],
    job_hours: JobHours = 4.0,
    checkpoint_min: CheckpointMin = 10.0,
    deadline_hours: DeadlineHours = 8.0,
    save_s: SaveS = 30,
    kinds: Types = None,
    starts: Annotated[
        int, typer.Option("--starts", min=1, help="Jobs in all, shared out evenly between the types.")
    ] = 500,
    seed: Annotated[int, typer.Option("--seed", help="The same seed draws the same starts.")] = 1,
    list_price: ListPrice = None,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """Replay recorded prices: what the broker, simpler strategies and a clairvoyant pay for the same jobs."""
    _checkout()
    with _explained():
        import random

        from chalicelib.core.spot_backtest import cases, drawn_starts, figures
        from chalicelib.core.spot_history import holes

        terms = _terms(job_hours, checkpoint_min, deadline_hours, save_s)
        changes = _read(history)
        found = _by_name(_markets(changes, kinds, list_price))
        needed = terms.on_demand_s(0)
        if needed > terms.deadline_s:
            raise ValueError(
                f"A launch and the job take {needed / 3600:.4g} h on demand: no strategy can end within {deadline_hours:g} h."
            )
        broken = holes(changes)
        by_type: dict[str, list[Case]] = {}
        refused = 0
        began = time.monotonic()
        done = 0
        for number, (kind, market) in enumerate(found.items()):
            count = starts // len(found) + (number < starts % len(found))
            if not count:
                continue
            chance = random.Random(f"{seed}/{kind}").random  # noqa: S311 (draws starts, guards nothing)
            begins, again = drawn_starts(market, terms, broken, count, chance)
            refused += again
            for case in cases(market, terms, begins):
                by_type.setdefault(kind, []).append(case)
                done += 1
                _progress(done, starts, kind, time.monotonic() - began)
        played = [case for own in by_type.values() for case in own]
        answer = {
            "history": str(history),
            "types": list(found),
            "starts": len(played),
            "starts_drawn_again": refused,
            "holes_hours": [round((end - begin) / 3600, 1) for begin, end in broken],
            "seed": seed,
            "job_hours": job_hours,
            "deadline_hours": deadline_hours,
            "checkpoint_min": checkpoint_min,
            "strategies": figures(played),
            "by_type": {kind: figures(own) for kind, own in by_type.items()},
        }
        if plot is not None:
            _draw(plot, found, by_type)
    if as_json:
        emit(answer)
        return
    headers = [
        "strategy",
        "cost USD",
        "x clairvoyant",
        "p95 of a job USD",
        "mean hours",
        "deadlines missed",
        "interruptions",
    ]
    columns = ("cost", "ratio", "cost_p95", "mean_hours", "deadline_missed", "interruptions")
    rows = sorted(answer["strategies"].items(), key=lambda pair: pair[1]["cost"])  # type: ignore[attr-defined]
    table(headers, [[name, *(row[column] for column in columns)] for name, row in rows])
    say(f"{len(played)} jobs; {refused} starts were drawn again, because the record has a hole there.")


@spot.command()
@command
def advise(
    kinds: Types = None,
    region: Annotated[list[str] | None, typer.Option("--region", help="Where to look; may be repeated.")] = None,
    history: History = None,
    job_hours: JobHours = 1.0,
    checkpoint_min: CheckpointMin = 10.0,
    deadline_hours: DeadlineHours = 4.0,
    save_s: SaveS = 30,
    cpu: Annotated[
        float, typer.Option("--cpu", min=0, help="What the job reserves; picks types if none is named.")
    ] = 1.0,
    memory_mib: Annotated[int, typer.Option("--memory-mib", min=0, help="What the job reserves.")] = 512,
    arch: Annotated[str, typer.Option("--arch", help="The architecture of the types that are picked.")] = "x86_64",
    data_gib: Annotated[
        float, typer.Option("--data-gib", min=0, help="Data that must travel to another region.")
    ] = 0.0,
    home: Annotated[str, typer.Option("--home", help="The region where the data is.")] = "us-east-1",
    transfer_usd_gib: Annotated[float, typer.Option("--transfer-usd-gib", min=0, help="Price of that travel.")] = 0.02,
    list_price: ListPrice = None,
    reclaims: Annotated[
        bool, typer.Option(help="EC2 may take a spot host back at any time, not only for its price.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Rank offerings for a job: zone, max price, expected cost and end, and the chance to be in time; on demand beside them."""
    _checkout()
    with _explained():
        from dataclasses import replace

        from chalicelib.core.spot_advice import Place
        from chalicelib.core.spot_advice import advise as ranked
        from chalicelib.core.spot_history import holes
        from chalicelib.core.spot_world import tick_after

        terms = replace(_terms(job_hours, checkpoint_min, deadline_hours, save_s), reclaims=reclaims)
        wanted = list(kinds or ()) or _fitting(cpu, memory_mib, arch)
        markets, notes, broken = [], [], []
        now = time.time()
        if history is not None:
            changes = _read(history)
            now = changes[-1].at
            broken = holes(changes)
            markets = [each for each in _markets(changes, kinds, list_price) if not region or each[0] in region]
            if not markets:
                raise ValueError(f"{history} tells no price of {', '.join(region or ())}.")
            notes.append(f"Advice for the last moment of {history}.")
        else:
            from chalicelib.cloud.clients import Clients
            from chalicelib.cloud.prices import Ec2Prices
            from chalicelib.cloud.requests import Requests

            feed = Ec2Prices(Clients(Requests()))
            for place in region or [home]:
                changes = feed.history(place, wanted, now - 21 * 86_400, now)
                if not changes:
                    notes.append(f"EC2 in {place} tells no spot price of {', '.join(wanted)}.")
                    continue
                scores = feed.scores(place, wanted)
                notes.append(scores.why_not or f"Placement scores in {place}: {scores.by_zone_id}")
                markets += _markets(changes, None, list_price)
        travel = data_gib * transfer_usd_gib
        places = [Place(place, market, 0.0 if place == home else travel) for place, market in markets]
        found = ranked(places, terms, tick_after(now), broken)
    rows = [
        {
            "offering": advice.offering.key,
            "price_usd_h": advice.price_usd_h,
            "max_price_usd_h": advice.max_price_usd_h,
            "expected_cost_usd": round(advice.usd, 4),
            "transfer_usd": round(advice.transfer_usd, 4),
            "expected_finish_h": round(advice.finish_s / 3600, 2),
            "in_time": round(advice.in_time, 3),
            "expected_interruptions": round(advice.interruptions, 2),
            "replays": advice.replays,
            "do": advice.todo,
        }
        for advice in found
    ]
    if as_json:
        emit({"offerings": rows, "notes": notes})
        return
    headers = [
        "offering",
        "price USD/h",
        "max price",
        "cost USD",
        "transfer",
        "hours",
        "in time",
        "interruptions",
        "replays",
        "do",
    ]
    table(headers, [list(row.values()) for row in rows])
    for note in notes:
        say(note)


def _checkout() -> None:
    from spillway.checkout import import_from_checkout

    import_from_checkout()


def _terms(job_hours: float, checkpoint_min: float, deadline_hours: float, save_s: int) -> Terms:
    from chalicelib.core.spot_world import TICK_S, Terms

    return Terms(
        work_s=round(job_hours * 3600),
        deadline_s=round(deadline_hours * 3600) // TICK_S * TICK_S,
        checkpoint_s=round(checkpoint_min * 60),
        save_s=save_s,
    )


def _read(path: Path) -> list[Change]:
    from chalicelib.cloud.price_files import read

    return read(path)


def _markets(changes: list[Change], kinds: list[str] | None, list_price: list[str] | None) -> list[tuple[str, Market]]:
    """The markets to look at, with their regions: a job moves between zones, never between regions.

    Raises BadInput where a type is not in the record, or its price on demand is nowhere.
    """
    from chalicelib.core.catalogue import TYPES
    from chalicelib.core.regions import region_of
    from chalicelib.core.spot_history import markets
    from spillway.errors import BadInput

    told = {change.instance_type for change in changes}
    unknown = [kind for kind in kinds or () if kind not in told]
    if unknown:
        raise BadInput(f"There is no price of {', '.join(unknown)}: there are prices of {', '.join(sorted(told))}.")
    said = dict(_said_price(entry, told) for entry in list_price or ())
    by_region: dict[str, list[Change]] = {}
    for change in changes:
        if not kinds or change.instance_type in kinds:
            by_region.setdefault(region_of(change.zone), []).append(change)
    found: list[tuple[str, Market]] = []
    for region, here in sorted(by_region.items()):
        types = {change.instance_type for change in here}
        listed = {change.instance_type for change in here if change.on_demand_usd_h}
        known = {kind: TYPES[kind].price_in(region) for kind in types - listed if kind in TYPES}
        own = markets(here, {**known, **said})
        if lacking := sorted(types - set(own)):
            raise BadInput(
                f"What {', '.join(lacking)} costs on demand is not known: say it with --on-demand-price TYPE=USD."
            )
        found += [(region, market) for market in own.values()]
    return found


def _said_price(entry: str, told: set[str]) -> tuple[str, float]:
    """(type, USD an hour) of TYPE=USD. Raises BadInput."""
    from spillway.errors import BadInput

    kind, _, usd = entry.partition("=")
    if kind not in told:
        raise BadInput(f"--on-demand-price {entry}: there is no spot price of {kind or 'nothing'} beside it.")
    try:
        usd_h = float(usd)
    except ValueError:
        usd_h = math.nan
    if not 0 < usd_h < math.inf:
        raise BadInput(f"--on-demand-price {entry}: it must be TYPE=USD, for example c7i.large=0.08925.")
    return kind, usd_h


def _by_name(found: list[tuple[str, Market]]) -> dict[str, Market]:
    """The markets by type, and by region too where there are several."""
    if len({region for region, _ in found}) == 1:
        return {market.instance_type: market for _, market in found}
    return {f"{market.instance_type} in {region}": market for region, market in found}


def _fitting(cpu: float, memory_mib: int, arch: str) -> list[str]:
    """The types of the catalogue that hold the job at full speed at any time, cheapest first, three at most."""
    from chalicelib.core.catalogue import TYPES
    from spillway.errors import BadInput

    fit = [
        name
        for name, kind in TYPES.items()
        if kind.vcpus >= cpu and kind.memory_for_jobs_mib >= memory_mib
        if kind.arch == arch and kind.spot and kind.current and not kind.burstable
    ]
    if not fit:
        raise BadInput(f"No type of the catalogue has {cpu:g} cpu, {memory_mib} MiB and {arch}: name one with --type.")
    return sorted(fit, key=lambda kind: TYPES[kind].price_usd_h)[:3]


def _draw(path: Path, found: dict[str, Market], by_type: dict[str, list[Case]]) -> None:
    from spillway.cli.spot_plot import draw

    name, case = max(
        ((name, case) for name, own in by_type.items() for case in own),
        key=lambda pair: (sum(len(pair[1].outcomes[who].windows) for who in ("ours", "clairvoyant")), -pair[1].begin),
    )
    draw(path, found[name], case)


def _progress(done: int, wanted: int, kind: str, seconds: float) -> None:
    if sys.stderr.isatty():
        typer.echo(f"\r{done}/{wanted} jobs, {kind}, {seconds:.0f} s ", err=True, nl=done == wanted)


@contextmanager
def _explained() -> Iterator[None]:
    """What the broker refuses, as a sentence of the command line's."""
    from chalicelib.errors import BadRequest, CloudUnavailable
    from spillway.errors import BadInput, Unreachable

    try:
        yield
    except CloudUnavailable as error:
        raise Unreachable(f"{error}. Recorded prices can be used in its place: --history FILE.") from error
    except (BadRequest, ValueError) as error:
        raise BadInput(str(error)) from error
