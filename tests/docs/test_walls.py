"""The repository checks itself: imports that cross a wall of docs/architecture.md, routes and settings that nobody documented."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
AWS = ("boto3", "botocore", "pynamodb")

# (folder, what may not be imported below it, except by these files)
WALLS = [
    (
        "chalicelib/core",
        (*AWS, "chalice", "os", "time", "random", "logging", "secrets", "datetime", "aws_lambda_powertools"),
        ("cron.py",),  # calendars; the time now is an argument there too
    ),
    ("chalicelib/core", ("chalicelib.store", "chalicelib.cloud", "chalicelib.control", "chalicelib.api"), ()),
    ("chalicelib/store", ("boto3", "chalice", "chalicelib.control", "chalicelib.api", "chalicelib.cloud"), ()),
    ("chalicelib/cloud", ("pynamodb", "chalice", "chalicelib.control", "chalicelib.api", "chalicelib.store"), ()),
    (
        "chalicelib/control",
        (*AWS, "chalice", "time", "random", "chalicelib.api"),
        ("intake.py", "families.py", "delivery.py"),
    ),
    ("chalicelib/api", AWS, ()),
    ("chalicelib", ("localcloud", "infra", "spillway", "agent", "moto"), ()),
    ("agent", ("chalicelib", "spillway", "localcloud", "infra"), ()),
    (
        "spillway",
        ("chalicelib",),
        ("spot.py", "spot_plot.py"),
    ),  # it runs the broker, and says so where there is no checkout
    ("localcloud", ("chalicelib", "spillway", "infra", "agent"), ()),
]


def imports(file: Path) -> Iterator[str]:
    """Every module that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize(("folder", "forbidden", "excepted"), WALLS, ids=[f"{w[0]}-{w[1][0]}" for w in WALLS])
def test_no_import_crosses_a_wall(folder: str, forbidden: tuple[str, ...], excepted: tuple[str, ...]) -> None:
    crossings = [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in sorted((ROOT / folder).rglob("*.py"))
        if file.name not in excepted
        for name in imports(file)
        if any(name == wall or name.startswith(f"{wall}.") for wall in forbidden)
    ]
    assert not crossings


def test_what_control_takes_from_the_api_are_wire_structs_only() -> None:
    """The queue speaks the same documents as HTTP: intake and families read them, and nothing else of the API."""
    for name in ("intake.py", "families.py"):
        taken = {m for m in imports(ROOT / "chalicelib" / "control" / name) if m.startswith("chalicelib.api")}
        assert taken <= {
            "chalicelib.api",
            "chalicelib.api.wire",
            "chalicelib.api.array_wire",
            "chalicelib.api.job_wire",
            "chalicelib.api.job_wire.JobSpecWire",
        }


def test_every_route_is_documented() -> None:
    import app

    contracts = (ROOT / "docs" / "contracts.md").read_text()
    for path, methods in app.app.routes.items():
        shown = path.replace("{job_id}", "{id}").replace("{host_id}", "{id}")
        for method in methods:
            assert f"`{method} {shown}" in contracts, f"{method} {shown} is not in docs/contracts.md §7"


def test_every_setting_is_documented() -> None:
    contracts = (ROOT / "docs" / "contracts.md").read_text()
    source = (ROOT / "chalicelib" / "config.py").read_text()
    names = {
        n.value
        for n in ast.walk(ast.parse(source))
        if isinstance(n, ast.Constant) and str(n.value).startswith("SPILLWAY_")
    }
    assert names
    for name in names:
        assert f"`{name}`" in contracts, f"{name} is not in docs/contracts.md §1"


def test_whoever_installs_the_client_has_all_of_it() -> None:
    """`spillway run` and `grade` are the hosts' agent: a package that is left out is missed outside of a checkout only."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    there = {file.parent.relative_to(ROOT) for top in ("spillway", "agent") for file in (ROOT / top).rglob("*.py")}
    assert sorted(listed) == sorted(".".join(folder.parts) for folder in there)
