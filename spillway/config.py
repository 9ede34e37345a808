"""Which Spillway to talk to: the URL and the token.

First match wins; a URL and its token come from the same place, unless options or variables say
otherwise.

1. `--url`, `--token`
2. `SPILLWAY_URL`, `SPILLWAY_TOKEN`
3. the embedded cloud that runs for this folder: `.spillway-local/status.json` (`SPILLWAY_LOCAL_STATE` names another folder)
4. what `spillway bootstrap` and `chalice deploy` left: `.spillway/<stage>.json`, `.chalice/deployed/<stage>.json`
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from spillway.errors import BadInput, Unreachable

LOCAL_STATE = ".spillway-local"


@dataclass(frozen=True)
class Target:
    """Where to send requests. `source` says where that was found, for error messages."""

    url: str
    token: str
    source: str


def resolve(
    url: str | None = None,
    token: str | None = None,
    *,
    stage: str | None = None,
    environ: Mapping[str, str] = os.environ,
    folder: Path | None = None,
) -> Target:
    """The Spillway to talk to. Raises BadInput where nothing names one."""
    folder = folder or Path.cwd()
    url, url_source = (url, "--url") if url else (environ.get("SPILLWAY_URL"), "SPILLWAY_URL")
    token = token or environ.get("SPILLWAY_TOKEN")
    if url:
        return Target(url, token or "", url_source)
    for found in chain(_local(environ, folder), _staged(stage or environ.get("SPILLWAY_STAGE"), folder)):
        return Target(found.url, token or found.token, found.source)
    raise BadInput(
        "No Spillway is named: give --url and --token, set SPILLWAY_URL and SPILLWAY_TOKEN, start one here with "
        "`spillway demo --keep`, or deploy one with `spillway bootstrap` and `python -m infra.deploy`."
    )


def local_state(environ: Mapping[str, str] = os.environ, folder: Path | None = None) -> Path:
    """The state folder of the embedded cloud that runs for this folder or one above it, as `resolve` finds it; else of a new one here."""
    if named := environ.get("SPILLWAY_LOCAL_STATE"):
        return Path(named)
    folder = folder or Path.cwd()
    for parent in (folder, *folder.parents):
        status = read_json(parent / LOCAL_STATE / "status.json")
        if status and _alive(status.get("pid")):
            return parent / LOCAL_STATE
    return folder / LOCAL_STATE


def _local(environ: Mapping[str, str], folder: Path) -> Iterator[Target]:
    named = environ.get("SPILLWAY_LOCAL_STATE")
    for place in [Path(named)] if named else [parent / LOCAL_STATE for parent in (folder, *folder.parents)]:
        status = read_json(place / "status.json")
        if status and status.get("api_url") and _alive(status.get("pid")):
            yield Target(status["api_url"], status.get("token") or "", f"the embedded cloud of {place}")


def _staged(stage: str | None, folder: Path) -> Iterator[Target]:
    for parent in (folder, *folder.parents):
        files = sorted((parent / ".spillway").glob("*.json"))
        if stage:
            files = [file for file in files if file.stem == stage]
        if len(files) > 1:
            stages = ", ".join(file.stem for file in files)
            raise BadInput(f"{parent} has several stages ({stages}): choose one with --stage or SPILLWAY_STAGE.")
        for file in files:
            saved = read_json(file) or {}
            url = saved.get("api_url") or saved.get("url") or _deployed_url(parent, file.stem)
            if not url:
                raise Unreachable(
                    f"The stage {file.stem} is bootstrapped but not deployed: run `python -m infra.deploy --stage {file.stem}`."
                )
            yield Target(url, saved.get("token") or "", str(file))


def _deployed_url(project: Path, stage: str) -> str | None:
    """The API's URL as `chalice deploy` recorded it."""
    deployed = read_json(project / ".chalice" / "deployed" / f"{stage}.json") or {}
    for resource in deployed.get("resources", []):
        if resource.get("resource_type") == "rest_api":
            return str(resource["rest_api_url"])
    return None


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None where there is no such file. Raises BadInput if it is something else."""
    try:
        document = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} cannot be read: {why(error)}.") from error
    if not isinstance(document, dict):
        raise BadInput(f"{path} should hold a JSON object.")
    return document


def why(error: Exception) -> str:
    """An error's words for a sentence that has named the file already."""
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def _alive(pid: Any) -> bool:
    """A process with this id exists. (An id used again by another program is told apart by the first request.)"""
    try:
        os.kill(int(pid), 0)
    except (TypeError, ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True
