"""What the command line can do, docs/cli.md says."""

from __future__ import annotations

import inspect
from pathlib import Path

import spillway.cli.outcome as outcome
from spillway.cli import app
from spillway.cli.array import array
from spillway.cli.family import family
from spillway.cli.local import local
from spillway.cli.offerings import offerings
from spillway.cli.owner import owner
from spillway.cli.pool import pool
from spillway.cli.schedule import schedule
from spillway.cli.spot import spot
from spillway.cli.token import token

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "cli.md").read_text()


GROUPS = {
    "": app,
    "array ": array,
    "local ": local,
    "offerings ": offerings,
    "pool ": pool,
    "spot ": spot,
    "token ": token,
    "owner ": owner,
    "family ": family,
    "schedule ": schedule,
}


def names() -> list[str]:
    return [
        group + (command.name or command.callback.__name__)
        for group, commands in GROUPS.items()
        for command in commands.registered_commands
        if command.callback
    ]


def test_every_command_is_documented() -> None:
    assert len(names()) >= 20
    assert [name for name in names() if f"| `spillway {name}" not in DOCUMENT] == []


def test_every_exit_code_is_documented() -> None:
    codes = [value for name, value in vars(outcome).items() if name.isupper() and isinstance(value, int)]
    assert sorted(codes) == [0, 1, 2, 3, 4, 130]
    assert [code for code in codes if f"| {code} |" not in DOCUMENT] == []


def test_every_command_speaks_json() -> None:
    commands = [command for group in GROUPS.values() for command in group.registered_commands]
    lacking = [
        c.callback.__name__
        for c in commands
        if c.callback and "as_json" not in inspect.signature(c.callback).parameters
    ]
    assert lacking == []
