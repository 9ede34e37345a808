"""The doctor says what is missing, how to get it and what that costs, and believes only what works."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from localcloud import doctor
from localcloud.doctor import Finding, report

ROOT = Path(__file__).resolve().parents[2]
GOOD = Finding("C compiler", "gcc libc6-dev", "gcc glibc-devel", "", "no C")
ABSENT = Finding("bubblewrap", "bubblewrap", "bubblewrap", "bubblewrap is not installed", "no sandbox")
FORBIDDEN = Finding("bubblewrap", "bubblewrap", "bubblewrap", "bubblewrap is installed, but may not", "no sandbox")


def no_tool(name: str) -> None:
    return None


def test_a_machine_with_everything_is_told_so_and_nothing_to_install() -> None:
    assert report([GOOD], no_tool) == ["ok       C compiler"]


def test_what_is_absent_comes_with_its_price_and_this_systems_command() -> None:
    lines = report([GOOD, ABSENT], lambda name: "/usr/bin/dnf" if name == "dnf" else None)
    assert lines[1:] == [
        "missing  bubblewrap is not installed: no sandbox",
        "to install: sudo dnf install bubblewrap",
    ]


def test_an_unknown_system_is_told_both_commands() -> None:
    assert "apt-get" in report([ABSENT], no_tool)[-1]
    assert "dnf" in report([ABSENT], no_tool)[-1]


def test_what_is_installed_but_forbidden_is_not_to_be_installed_again() -> None:
    assert report([FORBIDDEN], no_tool) == ["missing  bubblewrap is installed, but may not: no sandbox"]


def test_a_program_that_is_there_but_fails_counts_as_missing(tmp_path: Path) -> None:
    """On many machines bubblewrap is installed and may not make namespaces."""
    for name in ("bwrap", "cc"):
        (tmp_path / name).write_text("#!/bin/sh\necho 'setting up uid map: Permission denied' >&2\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    ran = subprocess.run(
        [sys.executable, "-m", "localcloud.doctor"],
        cwd=ROOT,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (
        "bubblewrap is installed, but may not make namespaces here (setting up uid map: Permission denied)"
        in ran.stdout
    )
    assert "cc is installed, but compiles nothing" in ran.stdout


def test_nothing_missing_is_an_error(tmp_path: Path) -> None:
    """`make setup` goes on without what is missing."""
    ran = subprocess.run(
        [sys.executable, "-m", "localcloud.doctor"],
        cwd=ROOT,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0
    assert "bubblewrap is not installed: hostile example submissions are skipped" in ran.stdout
    assert "there is no C compiler" in ran.stdout


@pytest.mark.skipif(doctor.bubblewrap_lack() != "", reason="bubblewrap does not work on this machine")
def test_a_working_bubblewrap_is_found_to_work() -> None:
    assert next(f for f in doctor.examine() if f.name == "bubblewrap").works
