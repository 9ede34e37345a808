"""The grader of examples/grading by itself: marks, and what a hostile submission does not get."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

GRADING = Path(__file__).resolve().parents[2] / "examples" / "grading"
CASES: list[dict[str, Any]] = json.loads((GRADING / "expected.json").read_text())
HARMLESS = [case for case in CASES if not case["hostile"]]


def grade(folder: Path, assignment: str, submission: Path) -> dict[str, Any]:
    """Grade in a folder of its own, as on a host; the result."""
    shutil.copytree(GRADING / "grader", folder / "grader")
    shutil.copytree(GRADING / assignment, folder / "assignment")
    shutil.copytree(submission, folder / "submission")
    done = subprocess.run(
        [sys.executable, "grader/grade.py", "assignment", "submission", "--hide-tests"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=110,
        env=os.environ | {"TMPDIR": str(folder)},
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return result


def program(folder: Path, text: str) -> Path:
    (folder / "mine").mkdir()
    (folder / "mine" / "roman.py").write_text(text)
    return folder / "mine"


@pytest.mark.parametrize("case", HARMLESS, ids=[f"{c['assignment']}-{c['submission']}" for c in HARMLESS])
def test_every_submission_gets_its_mark(tmp_path: Path, case: dict[str, Any]) -> None:
    """The marks of expected.json, without any of Spillway around the grader."""
    if case["needs_compiler"] and not any(map(shutil.which, ("cc", "gcc", "clang"))):
        pytest.skip("needs a C compiler")
    submission = GRADING / "submissions" / case["assignment"] / case["submission"]
    result = grade(tmp_path, case["assignment"], submission)
    assert result["score"] == case["mark"], result
    assert result["max_score"] == case["max"]
    assert all(test["feedback"] for test in result["tests"])
    assert len(json.dumps(result)) < 32 * 1024


def test_a_submission_is_listed_once_and_exists() -> None:
    """expected.json and the folder of submissions say the same."""
    named = {f"{case['assignment']}/{case['submission']}" for case in CASES}
    there = {f"{p.parent.name}/{p.name}" for p in (GRADING / "submissions").glob("*/*")}
    assert named == there
    assert len(named) == len(CASES)


def test_what_a_submission_writes_is_not_its_result(tmp_path: Path) -> None:
    """The grader's result replaces whatever stands there, also a folder; and a process left behind is ended first."""
    forge = (
        "import os, shutil, time\n"
        "os.makedirs(f'/proc/{os.getppid()}/cwd/result.json/x', exist_ok=True)\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    [os.close(fd) for fd in range(3)]\n"
        "    time.sleep(300)\n"
    )
    assert grade(tmp_path, "roman", program(tmp_path, forge))["score"] == 0
    left = [p.pid for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(p.info["cmdline"] or ())]
    assert left == []


def test_the_tests_are_gone_before_the_submission_runs(tmp_path: Path) -> None:
    peek = "import glob\nprint(glob.glob('../../assignment/*') + glob.glob('../../*/assignment.json'))\n"
    result = grade(tmp_path, "roman", program(tmp_path, peek))
    assert "got '[]'" in result["tests"][0]["feedback"]
