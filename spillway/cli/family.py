"""`spillway family list|show|put|versions`: named job definitions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from spillway.cli.options import Json, Stage, Token, Url, connect
from spillway.cli.outcome import command, emit
from spillway.cli.table import ago, table
from spillway.errors import BadInput
from spillway.family_files import taken

family = typer.Typer(
    help="Families: named job definitions, every version kept.", no_args_is_help=True, rich_markup_mode=None
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The family.")]


@family.command(name="list")
@command
def list_families(url: Url = None, token: Token = None, stage: Stage = None, as_json: Json = False) -> None:
    """All families at their newest versions."""
    with connect(url, token, stage) as spillway:
        found = spillway.families()
    _listed(found, as_json=as_json)


@family.command()
@command
def show(
    name: Name,
    version: Annotated[int | None, typer.Option(min=1, help="Which version; else the newest.")] = None,
    url: Url = None,
    token: Token = None,
    stage: Stage = None,
    as_json: Json = False,
) -> None:
    """One family: its document, as `put` takes it."""
    with connect(url, token, stage) as spillway:
        found = spillway.family(name, version=version)
    if as_json:
        emit(found)
        return
    typer.echo(f"{name}, version {found['version']} (by {found['by']}, {ago(found['at'])} ago)")
    typer.echo(json.dumps({key: found[key] for key in ("title", "defaults", "schema", "source")}, indent=2))


@family.command()
@command
def versions(name: Name, url: Url = None, token: Token = None, stage: Stage = None, as_json: Json = False) -> None:
    """The versions of a family, the newest first; every job says which one it ran."""
    with connect(url, token, stage) as spillway:
        found = spillway.family_versions(name)
    _listed(found, as_json=as_json)


@family.command()
@command
def put(
    name: Name,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help='JSON: {"title", "defaults", "schema", "source"}; inputs {"path", "from"} are uploaded; - reads stdin.',
        ),
    ],
    if_version: Annotated[
        int | None, typer.Option("--if-version", min=0, help="Only if this is the newest version (0: none yet).")
    ] = None,
    url: Url = None,
    token: Token = None,
    stage: Stage = None,
    as_json: Json = False,
) -> None:
    """Make a family, or its next version. Needs an operator's token."""
    document, files = taken(read_json(file), file.parent)
    with connect(url, token, stage) as spillway:
        for path, source in files:
            document["defaults"]["inputs"].append(spillway.upload(source, path))
        kept = spillway.put_family(name, document, version=if_version)
    if as_json:
        emit(kept)
    else:
        typer.echo(f"{name} is at version {kept['version']}")


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object from a file, or from stdin where it is `-`. Raises BadInput."""
    try:
        text = typer.get_text_stream("stdin").read() if str(file) == "-" else file.read_text()
        document = json.loads(text)
    except OSError as error:
        raise BadInput(f"{file} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise BadInput(f"{file} is no JSON: {error}.") from None
    if not isinstance(document, dict):
        raise BadInput(f"{file} should hold a JSON object.")
    return document


def _listed(found: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    if as_json:
        emit({"items": found})
        return
    rows = [
        [f["name"], f["version"], f["by"], f"{ago(f['at'])} ago", (f["source"] or {}).get("url"), f["title"]]
        for f in found
    ]
    table(("name", "version", "by", "made", "source", "title"), rows)
