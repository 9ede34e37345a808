"""A copy of what deploys, in a folder of its own, so that deploying (which writes into its project) leaves the checkout clean."""

from __future__ import annotations

import filecmp
import shutil
from pathlib import Path

from infra import chalice_config
from infra.errors import InfraError

PARTS = ("app.py", "chalicelib", "requirements.txt", "policies")


def stage_project(src: Path, dst: Path) -> None:
    """Make `dst` hold the deployable parts of `src` and nothing stale of them.

    What only dst has stays: the packages and the record of deployments below `.chalice`, and its own stages in config.json (those of src
    are left out). Only changed files are written, so that a build is found again. Raises InfraError if src lacks a part.
    """
    for part in PARTS:
        source, target = src / part, dst / part
        if not source.exists():
            raise InfraError(f"{src} is not a checkout of Spillway: it has no {part}.")
        if source.is_file():
            _copy(source, target)
            continue
        wanted = {f.relative_to(source) for f in source.rglob("*") if f.is_file() and "__pycache__" not in f.parts}
        for relative in sorted(wanted):
            _copy(source / relative, target / relative)
        for file in sorted(target.rglob("*"), reverse=True):  # children before their folders
            if file.is_file() and file.relative_to(target) not in wanted:
                file.unlink()
            elif file.is_dir() and not any(file.iterdir()):
                file.rmdir()
    stages = chalice_config.read(dst).get("stages", {}) if chalice_config.path(dst).is_file() else {}
    chalice_config.write(dst, {**chalice_config.read(src), "stages": stages})


def _copy(source: Path, target: Path) -> None:
    if target.is_file() and filecmp.cmp(source, target, shallow=False):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
