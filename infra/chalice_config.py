"""A stage's part of `.chalice/config.json`: its environment, and its own policies.

Chalice looks a function's setting up in stages.<stage>.lambda_functions.<function>, then stages.<stage>, then
lambda_functions.<function>, then the top level: so what all stages share stays committed, and only facts are written here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.errors import InfraError


def path(project_dir: Path) -> Path:
    return project_dir / ".chalice" / "config.json"


def read(project_dir: Path) -> dict[str, Any]:
    """The whole document. Raises InfraError where there is none."""
    try:
        document: dict[str, Any] = json.loads(path(project_dir).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InfraError(
            f"{path(project_dir)} is missing. Run this in Spillway's checkout, or name it with --project-dir."
        ) from None
    except json.JSONDecodeError as error:
        raise InfraError(f"{path(project_dir)} is not JSON: {error}") from None
    return document


def write_stage(project_dir: Path, stage: str, environment: Mapping[str, str], policy_files: Mapping[str, str]) -> None:
    """Put the stage in, leaving other stages and anything else that people wrote into this one."""
    document = read(project_dir)
    ours = document.setdefault("stages", {}).setdefault(stage, {})
    ours["environment_variables"] = {
        "SPILLWAY_LOG_LEVEL": "INFO",
        **ours.get("environment_variables", {}),
        **environment,
    }
    functions = ours.setdefault("lambda_functions", {})
    for function, file in policy_files.items():
        functions.setdefault(function, {})["iam_policy_file"] = file
    write(project_dir, document)


def write(project_dir: Path, document: Mapping[str, Any]) -> None:
    """Replace the whole document, in one step."""
    path(project_dir).parent.mkdir(parents=True, exist_ok=True)
    temporary = path(project_dir).with_suffix(".json.new")
    temporary.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    temporary.replace(path(project_dir))
