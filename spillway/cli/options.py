"""The options that many commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from spillway.client import Client

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else there.")]
Url = Annotated[str | None, typer.Option("--url", help="The API's URL (else SPILLWAY_URL, else what runs here).")]
Token = Annotated[str | None, typer.Option("--token", help="The API token (else SPILLWAY_TOKEN, else what runs here).")]
Pool = Annotated[str, typer.Argument(metavar="NAME", help="The pool.")]
Stage = Annotated[str | None, typer.Option("--stage", help="The stage, where .spillway/ has several.")]


def connect(url: str | None, token: str | None, stage: str | None) -> Client:
    """A client for what the options, the environment or this folder name."""
    from spillway.client import Client
    from spillway.config import resolve

    target = resolve(url, token, stage=stage)
    return Client(target.url, target.token)
