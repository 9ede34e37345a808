"""`spillway pool`: pools, their settings, the stage's defaults, their calendars.

Every change holds from the next pass on; nothing is deployed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NoReturn

import typer

from spillway.cli import bookings
from spillway.cli.options import Json, Pool, Stage, Token, Url, connect
from spillway.cli.outcome import command, emit
from spillway.cli.table import ago, counted, say, table
from spillway.errors import BadInput

pool = typer.Typer(
    help="Pools: their settings, the stage's defaults, their calendars.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
pool.add_typer(bookings.app)

SAID_BY = {"own": "pool", "stage": "stage", "default": ""}
TABLES_OF_OWN = ("offerings", "types")
SHOWN_APART = (
    "settings",
    "origins",
    "calendar",
    "scaling",
    "name",
    "version",
    "defaults_version",
    "interest",
    "warnings",
)

Version = Annotated[
    int | None, typer.Option("--if-version", min=0, help="Only if it is at this version; else nothing is changed.")
]


@pool.command("list")
@command
def list_pools(url: Url = None, token: Token = None, stage: Stage = None, as_json: Json = False) -> None:
    """All pools."""
    with connect(url, token, stage) as spillway:
        found = [dict(each.document) for each in spillway.pools()]
    if as_json:
        emit({"items": found})
        return
    columns = ("name", "hosts_min", "hosts_max", "hosts_desired", "policy", "slo_wait_s", "linger_s", "version")
    heads = ("name", "min", "max", "desired", "policy", "slo s", "linger s", "version")
    table(heads, [[each.get(column) for column in columns] for each in found])


@pool.command()
@command
def show(name: Pool, url: Url = None, token: Token = None, stage: Stage = None, as_json: Json = False) -> None:
    """One pool: every setting as it is in force, and who set it (pool, stage, or nobody)."""
    with connect(url, token, stage) as spillway:
        found = dict(spillway.pool(name).document)
    _show(found, as_json=as_json)


@pool.command("set")
@command
def set_(
    name: Pool,
    changes: Annotated[
        list[str],
        typer.Argument(metavar="KEY=VALUE…", help="VALUE is JSON or a word; KEY= or KEY=null takes a setting back."),
    ],
    create: Annotated[bool, typer.Option("--create", help="Make the pool, if there is none of this name.")] = False,
    if_version: Version = None,
    url: Url = None,
    token: Token = None,
    stage: Stage = None,
    as_json: Json = False,
) -> None:
    """Change settings of a pool: spillway pool set graders linger_s=120 policy=headroom parameters.factor=1.5."""
    patch = patch_of(changes)
    with connect(url, token, stage) as spillway:
        if create and not any(each.name == name for each in spillway.pools()):
            found = spillway.put_pool(name, without_nulls(patch))
        else:
            found = spillway.patch_pool(name, patch, version=if_version)
    _show(dict(found.document), as_json=as_json, only=patch)


@pool.command()
@command
def restart(name: Pool, url: Url = None, token: Token = None, stage: Stage = None, as_json: Json = False) -> None:
    """Replace all hosts, a share at a time (rolling_share); what runs on them ends first."""
    with connect(url, token, stage) as spillway:
        found = spillway.restart_pool(name)
    _show(dict(found.document), as_json=as_json, only={"generation": 0, "rolling_share": 0})


@pool.command()
@command
def kill(
    name: Pool,
    force: Annotated[
        bool, typer.Option("--force", help="Though jobs wait or run: those that wait go on waiting.")
    ] = False,
    url: Url = None,
    token: Token = None,
    stage: Stage = None,
    as_json: Json = False,
) -> None:
    """Let all hosts go and launch none; what runs on them ends first (spillway cancel ends it now)."""
    with connect(url, token, stage) as spillway:
        found = spillway.kill_pool(name, force=force)
    _show(dict(found.document), as_json=as_json, only={"killed": True})


@pool.command()
@command
def start(name: Pool, url: Url = None, token: Token = None, stage: Stage = None, as_json: Json = False) -> None:
    """Let a pool have hosts again, after kill or scaling_enabled=false."""
    with connect(url, token, stage) as spillway:
        found = spillway.start_pool(name)
    _show(dict(found.document), as_json=as_json, only={"killed": False, "scaling_enabled": True})


@pool.command()
@command
def groups(
    name: Pool,
    stage: Annotated[str, typer.Option(help="The stage's name, as it was bootstrapped from here.")],
    as_json: Json = False,
) -> None:
    """Make the Auto Scaling groups of a pool, or bring them to its settings. Needs a checkout; then set capacity=asg."""
    import dataclasses

    from spillway.checkout import import_from_checkout
    from spillway.cli.stage import explained

    root = import_from_checkout()
    from infra import groups as infra_groups
    from infra import terminal

    with explained():
        made = infra_groups.make(stage, name, root, report=terminal.progress)
    if as_json:
        emit(dataclasses.asdict(made))
        return
    for region, names in made.groups.items():
        typer.echo(f"{region}: {', '.join(names)}")
    typer.echo(f"Next: spillway pool set {name} capacity=asg, or spillway pool restart {name} where it is so already")


@pool.command()
@command
def defaults(
    changes: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE…", help="What to change; nothing: show them.")
    ] = None,
    if_version: Version = None,
    url: Url = None,
    token: Token = None,
    stage: Stage = None,
    as_json: Json = False,
) -> None:
    """The stage's own defaults, which every pool inherits that says nothing else."""
    with connect(url, token, stage) as spillway:
        if changes:
            found = spillway.patch_settings(patch_of(changes), version=if_version)
        else:
            found = spillway.settings()
    if as_json:
        emit(found)
        return
    by = f", last changed by {found['changed_by']} {ago(found['changed_at'])} ago" if found.get("changed_by") else ""
    typer.echo(f"The stage's defaults, version {found['version']}{by}")
    _warn(found)
    _settings(found["effective"], dict.fromkeys(found["settings"], "stage"))


def patch_of(changes: Sequence[str]) -> dict[str, Any]:
    """`["linger_s=5", "image=", "parameters.factor=1.5"]` as a merge patch. Raises BadInput."""
    patch: dict[str, Any] = {}
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals or not key:
            raise BadInput(f"{change!r} should be KEY=VALUE, for instance linger_s=120.")
        at, (*path, last) = patch, key.split(".", 1 if key.startswith("types.") else -1)  # types' own names have a dot
        for part in path:
            at = at.setdefault(part, {})
            if not isinstance(at, dict):
                raise BadInput(f"{change!r} contradicts an earlier {part}=….")
        at[last] = _value(key, text)
    return patch


def without_nulls(patch: Mapping[str, Any]) -> dict[str, Any]:
    """What a merge patch leaves where nothing was."""
    return {
        key: without_nulls(value) if isinstance(value, Mapping) else value
        for key, value in patch.items()
        if value is not None
    }


def _value(key: str, text: str) -> Any:
    if not text:
        return None
    try:
        return json.loads(text, parse_constant=_no_number, parse_float=_number)
    except ValueError as error:
        if text.lstrip()[:1] in ("[", "{", '"'):
            raise BadInput(f"{key}: what follows the = begins like JSON and is none: {error}.") from None
        return text  # a word, as in policy=headroom


def _number(text: str) -> float:
    if math.isinf(value := float(text)):
        _no_number(text)
    return value


def _no_number(text: str) -> NoReturn:
    """Python takes NaN, Infinity and 1e999; JSON has no such numbers."""
    raise ValueError(f"{text} is no number of JSON")


def _show(found: Mapping[str, Any], *, as_json: bool, only: Mapping[str, Any] | None = None) -> None:
    if as_json:
        emit(found)
        return
    scaling = found.get("scaling") or {}
    named = f"{found.get('name')}, version {found.get('version')}"
    if only is not None:  # what the last look wanted is older than the change
        typer.echo(
            f"{named}: in force from the next look on; `spillway plan {found.get('name')}` says what that will do"
        )
    elif scaling.get("why"):
        say(f"{named}; wants {counted(scaling['target'], 'host')}: {scaling['why']}")
    else:
        typer.echo(named)
    _warn(found)
    if people := found.get("interest"):
        typer.echo(f"{people} people are looking" if people > 1 else "1 person is looking")
    origins = {key: SAID_BY.get(by, "") for key, by in (found.get("origins") or {}).items()}
    shown = {key: value for key, value in found.items() if key not in SHOWN_APART and (only is None or key in only)}
    _settings(shown, origins)
    if only is None and found.get("calendar"):
        bookings.shown(found["calendar"])


def _warn(found: Mapping[str, Any]) -> None:
    """What of a change does nothing, or could not be checked with EC2."""
    for warning in found.get("warnings") or []:
        say(f"Warning: {warning['field']} {warning['message']}")


def _settings(values: Mapping[str, Any], origins: Mapping[str, str]) -> None:
    """Settings with who set them; offerings, of which each has several values, in a table of their own."""
    rows = [
        [key, _text(value), origins.get(key, "")] for key, value in sorted(values.items()) if key not in TABLES_OF_OWN
    ]
    if rows:
        table(["setting", "value", "set by"], rows)
    if offerings := values.get("offerings"):
        order = "tried from the top down" + (", spot by what the broker expects" if values.get("rank_spot") else "")
        table(
            ("type", "market", "where", "at most USD/h"),
            [
                [o["instance_type"], o["market"], o.get("zone") or o["region"], o.get("max_price_usd_h")]
                for o in offerings
            ],
            title=f"Offerings, {order}{_by(origins, 'offerings')}:",
        )
    if types := values.get("types"):
        table(
            ("type", "arch", "vCPUs", "MiB", "USD/h"),
            [
                [name, t.get("arch", "x86_64"), t["vcpus"], t["memory_mib"], t["price_usd_h"]]
                for name, t in types.items()
            ],
            title=f"Types that were added{_by(origins, 'types')}:",
        )


def _by(origins: Mapping[str, str], key: str) -> str:
    return f" (set by the {origins[key]})" if origins.get(key) else ""


def _text(value: Any) -> str:
    """As it could be typed behind KEY=; what nobody set is blank."""
    if value is None or value == {}:
        return ""
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={_text(each)}" for name, each in value.items())
    return value if isinstance(value, str) else json.dumps(value)
