"""`spillway local`: the embedded cloud, up and down from the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.e2e


def local(state: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "spillway", "local", *args, "--state", str(state)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=100,
    )


def test_up_status_down_reset(tmp_path: Path) -> None:
    """One that is up is found again; down ends its process; reset leaves an empty folder."""
    state = tmp_path / "state"
    assert local(state, "status").returncode == 3
    first = local(state, "up", "--detach", "--json")
    try:
        assert first.returncode == 0, first.stderr
        up = json.loads(first.stdout)
        assert psutil.pid_exists(up["pid"])
        assert json.loads(local(state, "up", "--detach", "--json").stdout)["pid"] == up["pid"]
        shown = json.loads(local(state, "status", "--json").stdout)
        assert {k: shown[k] for k in ("aws_endpoint_url", "api_url", "token")} == {
            "aws_endpoint_url": up["aws_endpoint_url"],
            "api_url": None,
            "token": None,
        }
        assert "Nothing goes wrong" in local(state, "faults").stdout
        set_to = local(state, "fault", "capacity", "instance_type=c7i.large", "instances=3", "--json")
        assert [(each["kind"], each["left"]) for each in json.loads(set_to.stdout)["items"]] == [("capacity", 3)]
        assert "ec2_buckets speed=2.0" in local(state, "fault", "ec2_buckets", "speed=2").stdout
        for wrong in (["flood"], ["capacity"], ["capacity", "instances"], ["spot_prices", "file=nowhere.csv"]):
            refused = local(state, "fault", *wrong)
            assert (refused.returncode, refused.stdout) == (2, ""), wrong
        assert local(state, "faults", "--clear", "--kind", "capacity").stdout.startswith("ec2_buckets")
        assert "Nothing goes wrong" in local(state, "faults", "--clear").stdout
    finally:
        down = local(state, "down", "--json")
    assert json.loads(down.stdout) == {"stopped": True}
    assert not psutil.pid_exists(up["pid"])
    assert "None was running" in local(state, "down").stdout
    assert local(state, "faults").returncode == 3
    assert local(state, "reset").returncode == 0
    assert list(state.iterdir()) == []


def test_a_folder_that_is_no_clouds_is_not_reset(tmp_path: Path) -> None:
    """`reset` deletes; a typing mistake must not cost somebody's folder."""
    (tmp_path / "thesis.tex").write_text("…")
    done = local(tmp_path, "reset")
    assert done.returncode == 2
    assert "left alone" in done.stderr
    assert (tmp_path / "thesis.tex").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_in_the_foreground_it_ends_with_ctrl_c(tmp_path: Path, number: signal.Signals) -> None:
    """Exit code 0, and no process that it started is left."""
    process = subprocess.Popen(
        [sys.executable, "-m", "spillway", "local", "up", "--state", str(tmp_path / "state")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    assert "AWS endpoint" in process.stdout.readline()
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, out
    assert psutil.wait_procs(children, timeout=5)[1] == []
