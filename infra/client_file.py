"""`.spillway/<stage>.json`, what the client needs to talk to a stage: `{"api_url", "token", "region", "stage"}`.

It holds a token, so it is written readable by its owner only.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from infra.errors import InfraError


def path(project_dir: Path, stage: str) -> Path:
    return project_dir / ".spillway" / f"{stage}.json"


def read(project_dir: Path, stage: str) -> dict[str, Any]:
    """The document, or an empty one."""
    try:
        document: dict[str, Any] = json.loads(path(project_dir, stage).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return document


def write(project_dir: Path, stage: str, region: str, **facts: Any) -> dict[str, Any]:
    """Put facts (`token`, `api_url`) in and keep the others; return the document."""
    file = path(project_dir, stage)
    document = {"api_url": None, "token": None, **read(project_dir, stage), "region": region, "stage": stage, **facts}
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = file.with_suffix(".json.new")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
        json.dump(document, out, indent=2)
        out.write("\n")
    temporary.replace(file)
    return document


def deployed_url(project_dir: Path, stage: str) -> str:
    """The URL that `chalice deploy` reported. Raises InfraError if the stage has not been deployed."""
    return str(_rest_api(project_dir, stage)["rest_api_url"])


def deployed_api(project_dir: Path, stage: str) -> str:
    """The id of the API that `chalice deploy` made. Raises InfraError as `deployed_url` does."""
    return str(_rest_api(project_dir, stage)["rest_api_id"])


def _rest_api(project_dir: Path, stage: str) -> dict[str, Any]:
    file = project_dir / ".chalice" / "deployed" / f"{stage}.json"
    try:
        resources = json.loads(file.read_text(encoding="utf-8"))["resources"]
    except FileNotFoundError:
        raise InfraError(
            f"The stage {stage} is not deployed from {project_dir}. Run `python -m infra.deploy --stage {stage}` there."
        ) from None
    for resource in resources:
        if resource["resource_type"] == "rest_api":
            return dict(resource)
    raise InfraError(f"{file} names no REST API; deploy the stage {stage} again.")


def record_api_url(project_dir: Path, stage: str, url: str | None = None) -> str:
    """Put the deployed API's URL (by default Chalice's own record of it) into the client's file; return it, without a final slash."""
    url = (url or deployed_url(project_dir, stage)).rstrip("/")
    region = read(project_dir, stage).get("region")
    write(project_dir, stage, region or "", api_url=url)
    return url
