"""Which of the demo's cases a machine can run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIST = """
import json
from pathlib import Path
from spillway.demo.cases import read_cases, runnable
run, skipped = runnable(read_cases(Path("examples/grading")))
print(json.dumps([[c.name for c in run], skipped]))
"""


def cases(path: str) -> tuple[list[str], dict[str, str]]:
    ran = subprocess.run(
        [sys.executable, "-c", LIST], cwd=ROOT, env={"PATH": path}, capture_output=True, text=True, check=True
    )
    run, skipped = json.loads(ran.stdout)
    return run, skipped


def test_what_the_doctor_calls_missing_is_skipped_with_its_reason(tmp_path: Path) -> None:
    """`make setup` and `make demo` are of one opinion; the Python submissions that harm nobody need nothing."""
    run, skipped = cases(str(tmp_path))
    assert "roman/right" in run
    assert not [name for name in run if name.startswith(("raw/", "words/"))]
    assert skipped["words/right"] == "needs a C compiler"
    assert "bubblewrap" in skipped["raw/forks"]


@pytest.mark.parametrize("program", ["cc", "bwrap"])
def test_a_program_that_is_there_but_fails_is_missing_too(tmp_path: Path, program: str) -> None:
    """A compiler without headers would give every C submission zero points."""
    broken = tmp_path / program
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    _, skipped = cases(f"{tmp_path}:/usr/bin:/bin")
    assert ("words/right" if program == "cc" else "raw/forks") in skipped
