"""`spillway local`: the embedded cloud of this folder: up, down, status, reset, and what goes wrong in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from spillway.cli.options import Json
from spillway.cli.outcome import UNREACHABLE, command, emit, finish
from spillway.errors import BadInput, Unreachable

local = typer.Typer(
    help="The embedded cloud: an AWS account on 127.0.0.1. Needs a checkout.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

State = Annotated[
    Path | None, typer.Option("--state", help="Its folder (else SPILLWAY_LOCAL_STATE, else .spillway-local).")
]


@local.command()
@command
def up(
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Let it go on when this command has ended.")] = False,
    state: State = None,
    as_json: Json = False,
) -> None:
    """Start it. Without --detach it runs until ctrl-C; if one runs already, that one is shown."""
    folder = _folder(state)
    with _explained():
        from localcloud import lifecycle
        from localcloud.__main__ import run

        if detach:
            lifecycle.up(folder)
            _show(folder, as_json=as_json)
            return
        if lifecycle.status(folder).running:
            _show(folder, as_json=as_json)
            return
        folder.mkdir(parents=True, exist_ok=True)
        with lifecycle.held(folder):
            code = run(folder, ready=lambda: _show(folder, as_json=as_json))
    if code:
        finish(UNREACHABLE)


@local.command()
@command
def down(state: State = None, as_json: Json = False) -> None:
    """Stop it; what it keeps stays."""
    folder = _folder(state)
    with _explained():
        from localcloud import lifecycle

        stopped = lifecycle.down(folder)
    if as_json:
        emit({"stopped": stopped})
    else:
        typer.echo("Stopped." if stopped else "None was running.")


@local.command()
@command
def status(state: State = None, as_json: Json = False) -> None:
    """Show where it listens; with --json also what it has counted. Exit code 3 if none runs."""
    folder = _folder(state)
    _show(folder, as_json=as_json)
    from localcloud import lifecycle

    if not lifecycle.status(folder).running:
        finish(UNREACHABLE)


@local.command()
@command
def reset(state: State = None, as_json: Json = False) -> None:
    """Stop it and delete all that it kept."""
    folder = _folder(state)
    with _explained():
        from localcloud import lifecycle

        lifecycle.reset(folder)
    if as_json:
        emit({"reset": str(folder)})
    else:
        typer.echo(f"{folder} is empty.")


@local.command()
@command
def fault(
    kind: Annotated[
        str, typer.Argument(help="What goes wrong: refuse_capacity, spot_prices, …; docs/embedded-cloud.md has all.")
    ],
    fields: Annotated[
        list[str] | None, typer.Argument(metavar="NAME=VALUE", help="Its fields; VALUE is JSON or a word.")
    ] = None,
    state: State = None,
    as_json: Json = False,
) -> None:
    """Let something go wrong in it: refuse capacity, throttle, replay spot prices, interrupt, lose a host."""
    told = dict(_field(each) for each in fields or [])
    if isinstance(told.get("file"), str):
        told["file"] = str(Path(told["file"]).resolve())  # the cloud was started somewhere else
    _say_faults(_faults("POST", state, {**told, "kind": kind}), as_json=as_json)


@local.command()
@command
def faults(
    clear: Annotated[bool, typer.Option("--clear", help="Nothing goes wrong on purpose any more.")] = False,
    kind: Annotated[str | None, typer.Option(help="With --clear: nothing of this kind; the rest stays.")] = None,
    state: State = None,
    as_json: Json = False,
) -> None:
    """List what goes wrong in it on purpose."""
    if kind is not None and not clear:
        raise BadInput("--kind goes with --clear.")
    _say_faults(_faults("DELETE" if clear else "GET", state, kind=kind), as_json=as_json)


def _field(text: str) -> tuple[str, Any]:
    name, mark, value = text.partition("=")
    if not mark or not name:
        raise BadInput(f"{text!r} is not NAME=VALUE.")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _faults(
    method: str, state: Path | None, told: dict[str, Any] | None = None, kind: str | None = None
) -> list[dict[str, Any]]:
    """What the cloud's fault switch answers. Raises BadInput with its sentence, Unreachable when none runs."""
    import httpx

    folder = _folder(state)
    from localcloud import lifecycle

    url = lifecycle.status(folder).aws_endpoint_url
    if url is None:
        raise Unreachable(f"No embedded cloud runs in {folder}. Start one with: spillway local up --detach")
    try:
        answer = httpx.request(method, f"{url}/_faults", json=told, params={"kind": kind} if kind else {}, timeout=60)
    except httpx.HTTPError as error:
        raise Unreachable(f"The embedded cloud at {url} does not answer: {error}.") from error
    document = answer.json()
    if answer.status_code != 200:
        raise BadInput(str(document["detail"]))
    items: list[dict[str, Any]] = document["items"]
    return items


def _say_faults(items: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        emit({"items": items})
        return
    for item in items:
        said = [f"{name}={value}" for name, value in item.items() if name not in ("kind", "id") and value is not None]
        typer.echo(" ".join([item["kind"], *said]))
    if not items:
        typer.echo("Nothing goes wrong on purpose.")


def _folder(state: Path | None) -> Path:
    """The state folder; the checkout's modules can be imported after this. Raises NoCheckout."""
    from spillway.checkout import import_from_checkout
    from spillway.config import local_state

    import_from_checkout()
    return (state or local_state()).resolve()


def _show(folder: Path, *, as_json: bool) -> None:
    from localcloud import lifecycle

    found = lifecycle.status(folder)
    if as_json:
        emit({**found.as_json(), "counters": _counters(found.aws_endpoint_url)})
    elif not found.running:
        typer.echo(f"No embedded cloud runs in {folder}. Start one with: spillway local up --detach")
    else:
        typer.echo(f"AWS endpoint  {found.aws_endpoint_url}")
        typer.echo(f"API           {found.api_url or 'nothing is deployed'}")
        typer.echo(f"Token         {'see --json' if found.token else 'none'}")
        typer.echo(f"Process       {found.pid}")


def _counters(url: str | None) -> object:
    import httpx

    if url is None:
        return None
    try:
        return httpx.get(f"{url}/_status", timeout=10).raise_for_status().json()
    except httpx.HTTPError:
        return None  # it is starting or stopping


@contextmanager
def _explained() -> Iterator[None]:
    from localcloud.lifecycle import AlreadyRunning, NotOurs, NotStarted

    try:
        yield
    except NotStarted as error:
        raise Unreachable(str(error)) from error
    except (AlreadyRunning, NotOurs) as error:
        raise BadInput(str(error)) from error
