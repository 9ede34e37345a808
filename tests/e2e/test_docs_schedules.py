"""docs/schedules.md is true: each of its commands is run, in its order, with the file that the page shows."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from deployed_once import ROOT, Deployed

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

PAGE = (ROOT / "docs" / "schedules.md").read_text()


def test_every_command_of_the_page_does_what_it_says(deployed: Deployed, tmp_path: Path) -> None:
    for name, text in re.findall(r"`([a-z]+\.json)`:\n\n```json\n(.*?)```", PAGE, re.DOTALL):
        (tmp_path / name).write_text(text)
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("SPILLWAY_", "AWS_"))}
    environment = clean | {"SPILLWAY_LOCAL_STATE": str(deployed.state), "PYTHONPATH": str(ROOT), "TZ": "UTC"}
    said = {}
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL):
        for line in block.splitlines():
            words = [sys.executable, "-m", *shlex.split(line)]
            done = subprocess.run(words, capture_output=True, text=True, timeout=120, cwd=tmp_path, env=environment)
            assert done.returncode == 0, (line, done.stdout, done.stderr)
            said[line] = done.stdout
    assert len(said) >= 14
    versions = said["spillway family versions grading"].splitlines()
    assert len(versions) == 2
    first, *_ = said["spillway schedule next nightly --limit 3"].splitlines()[1:]
    assert "T02:30:00+0" in first or "T03:00:00+02:00" in first
    assert "run now by admin" in said["spillway schedule fires hourly"]
    assert "paused" in said["spillway schedule pause hourly"]
    assert "paused" not in said["spillway schedule resume hourly"]
