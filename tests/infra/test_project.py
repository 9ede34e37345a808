"""Staging the deployable parts of a checkout into another folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra.errors import InfraError
from infra.project import stage_project


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    src = tmp_path / "src"
    for name, text in {
        "app.py": "app = 1\n",
        "requirements.txt": "boto3\n",
        "chalicelib/__init__.py": "",
        "chalicelib/core/job.py": "x = 1\n",
        "chalicelib/core/__pycache__/job.cpython-311.pyc": "bytecode",
        "policies/tick.json": "{}",
        "tests/test_app.py": "",
        ".chalice/config.json": json.dumps({"version": "2.0", "stages": {"prod": {}}}),
        ".chalice/deployments/package.zip": "zip",
        ".chalice/deployed/prod.json": "{}",
    }.items():
        file = src / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return src


def files(folder: Path) -> set[str]:
    return {str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file()}


def test_what_deploys_is_copied_and_nothing_else(checkout: Path, tmp_path: Path) -> None:
    """No bytecode, no tests, no packages, no record of where the checkout was deployed to."""
    dst = tmp_path / "dst"
    stage_project(checkout, dst)
    assert files(dst) == {
        "app.py",
        "requirements.txt",
        "chalicelib/__init__.py",
        "chalicelib/core/job.py",
        "policies/tick.json",
        ".chalice/config.json",
    }
    assert json.loads((dst / ".chalice/config.json").read_text()) == {"version": "2.0", "stages": {}}


def test_staging_again_keeps_what_only_the_copy_has_and_drops_what_is_gone(checkout: Path, tmp_path: Path) -> None:
    """Built packages, the record of the deployment and the copy's own stages stay; a deleted module goes."""
    dst = tmp_path / "dst"
    stage_project(checkout, dst)
    (dst / ".chalice/config.json").write_text(json.dumps({"version": "2.0", "stages": {"local": {"a": 1}}}))
    (dst / ".chalice/deployments").mkdir()
    (dst / ".chalice/deployments/package.zip").write_text("zip")
    (dst / ".chalice/deployed").mkdir()
    (dst / ".chalice/deployed/local.json").write_text("{}")
    (checkout / "chalicelib/core/job.py").unlink()
    (checkout / "app.py").write_text("app = 2\n")
    stage_project(checkout, dst)
    assert (dst / "app.py").read_text() == "app = 2\n"
    assert not (dst / "chalicelib/core").exists()
    assert {".chalice/deployments/package.zip", ".chalice/deployed/local.json"} <= files(dst)
    assert json.loads((dst / ".chalice/config.json").read_text())["stages"] == {"local": {"a": 1}}


def test_unchanged_files_are_not_touched(checkout: Path, tmp_path: Path) -> None:
    """So that what was built from them is found again."""
    dst = tmp_path / "dst"
    stage_project(checkout, dst)
    before = (dst / "app.py").stat().st_mtime_ns
    stage_project(checkout, dst)
    assert (dst / "app.py").stat().st_mtime_ns == before


def test_a_folder_that_is_no_checkout_is_told_as_such(tmp_path: Path) -> None:
    """With the part that it lacks."""
    with pytest.raises(InfraError, match=r"no app\.py"):
        stage_project(tmp_path, tmp_path / "dst")
