"""One embedded cloud for each state folder: found again, stopped whole, and never a foreign process harmed."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import psutil
import pytest

from localcloud import lifecycle, orphans
from localcloud.cloud import Cloud

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "state"
    folder.mkdir()
    yield folder
    lifecycle.down(folder)


def eventually(check: Callable[[], Any], within_s: float = 20.0) -> Any:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if value := check():
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {within_s} s")


def port_of(status: lifecycle.Status) -> int:
    port = urlsplit(status.aws_endpoint_url or "").port
    assert port is not None
    return port


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[lifecycle.Status]]]:
    """A cloud that two started at once, for tests that leave it running."""
    folder = tmp_path_factory.mktemp("shared")
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lifecycle.up, [folder, folder]))
    yield folder, found
    lifecycle.down(folder)


def test_two_who_start_it_at_once_get_the_same_one(shared: tuple[Path, list[lifecycle.Status]]) -> None:
    """The lock on the folder decides; the loser finds the winner, and so does a later `up`."""
    folder, (first, second) = shared
    assert first.running
    assert first == second == lifecycle.up(folder)


def test_a_second_process_in_the_same_folder_is_told_so(shared: tuple[Path, list[lifecycle.Status]]) -> None:
    folder, _ = shared
    command = [sys.executable, "-m", "localcloud", "--state", str(folder)]
    second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 3
    assert f"An embedded cloud already runs in {folder}." in second.stderr
    assert lifecycle.status(folder).running


def test_what_was_deployed_is_noted_in_a_status_for_its_owner_only(
    shared: tuple[Path, list[lifecycle.Status]],
) -> None:
    """It holds a token: mode 0600, before and after."""
    folder, (status, _) = shared
    assert stat.S_IMODE((folder / "status.json").stat().st_mode) == 0o600
    lifecycle.record(folder, api_url="http://127.0.0.1:1/_rest/a/api", token="spw_x")
    assert lifecycle.status(folder).as_json() == {
        "aws_endpoint_url": status.aws_endpoint_url,
        "api_url": "http://127.0.0.1:1/_rest/a/api",
        "token": "spw_x",
        "pid": status.pid,
    }
    assert stat.S_IMODE((folder / "status.json").stat().st_mode) == 0o600


def test_down_leaves_nothing(state: Path) -> None:
    """Neither process, child, port nor status."""
    status = lifecycle.up(state)
    client = boto3.client(
        "sqs",
        endpoint_url=status.aws_endpoint_url,
        region_name="us-east-1",
        aws_access_key_id="any",
        aws_secret_access_key="any",
    )
    assert client.create_queue(QueueName="q")["QueueUrl"]
    family = [psutil.Process(status.pid), *psutil.Process(status.pid).children(recursive=True)]
    assert lifecycle.down(state)
    assert [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE] == []
    assert not listens(port_of(status))
    assert lifecycle.status(state) == lifecycle.Status()
    assert not lifecycle.down(state)


def test_down_stops_one_that_is_still_starting(state: Path) -> None:
    """There is no status yet, but the lock says whose it is."""
    process = subprocess.Popen([sys.executable, "-m", "localcloud", "--state", str(state)], cwd=ROOT)
    eventually(lambda: (state / "lock").exists() and (state / "lock").stat().st_size)
    assert lifecycle.down(state)
    assert process.wait(20) is not None
    assert not (state / "status.json").exists()


def test_ctrl_c_in_the_foreground_stops_it_cleanly(state: Path) -> None:
    process = subprocess.Popen([sys.executable, "-m", "localcloud", "--state", str(state)], cwd=ROOT)
    status = eventually(lambda: (s := lifecycle.status(state)).running and s)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    assert not listens(port_of(status))
    assert not (state / "status.json").exists()
    assert not (state / "children.json").exists()


def test_it_ends_with_its_terminal_in_the_foreground(state: Path) -> None:
    process = subprocess.Popen([sys.executable, "-m", "localcloud", "--state", str(state)], cwd=ROOT)
    eventually(lambda: lifecycle.status(state).running)
    process.send_signal(signal.SIGHUP)
    assert process.wait(20) == 0


def test_what_a_killed_cloud_left_is_ended_by_the_next_down(state: Path) -> None:
    """kill -9 of the cloud: its children are recorded and ended, wherever they were adopted."""
    status = lifecycle.up(state)
    process = psutil.Process(status.pid)
    children = eventually(lambda: (state / "children.json").exists() and process.children(recursive=True))
    process.kill()
    eventually(lambda: not lifecycle.status(state).running)
    lifecycle.down(state)
    assert [c for c in children if c.is_running() and c.status() != psutil.STATUS_ZOMBIE] == []
    assert not (state / "children.json").exists()


@pytest.fixture
def foreign() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def test_a_foreign_process_with_a_recorded_pid_is_left_alone(state: Path, foreign: subprocess.Popen[bytes]) -> None:
    """A pid alone proves nothing: the start time must be the recorded one."""
    started = psutil.Process(foreign.pid).create_time()
    (state / "children.json").write_text(json.dumps([[foreign.pid, started - 100]]))
    (state / "status.json").write_text(json.dumps({"aws_endpoint_url": "", "pid": foreign.pid, "pid_started": 1.0}))
    assert not lifecycle.status(state).running
    assert not lifecycle.down(state)
    assert foreign.poll() is None
    (state / "children.json").write_text(json.dumps([[foreign.pid, started]]))
    assert orphans.end_recorded(state) == 1
    assert not psutil.pid_exists(foreign.pid)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": "x"}', "null"])
def test_a_broken_status_means_that_nothing_runs(state: Path, content: str) -> None:
    (state / "status.json").write_text(content)
    (state / "children.json").write_text(content)
    assert not lifecycle.status(state).running
    assert not lifecycle.down(state)


def test_reset_deletes_only_what_a_cloud_used(state: Path, tmp_path: Path) -> None:
    """A mistyped folder must survive."""
    homework = tmp_path / "homework"
    homework.mkdir()
    (homework / "thesis.txt").write_text("years")
    with pytest.raises(lifecycle.NotOurs, match="left alone"):
        lifecycle.reset(homework)
    assert (homework / "thesis.txt").exists()
    with lifecycle.held(state):
        (state / "logs").mkdir()
        (state / "logs" / "a.log").write_text("x")
    assert lifecycle._process(json.loads((state / "lock").read_text())) is not None
    (state / "lock").write_text("")  # else it would be this very process that is stopped
    lifecycle.reset(state)
    assert list(state.iterdir()) == []


def test_a_cloud_that_cannot_start_says_why(state: Path) -> None:
    """Its own last words are in the error."""
    (state / "instances").write_text("a file where a folder should be")
    with pytest.raises(lifecycle.NotStarted, match="does not start"):
        lifecycle.up(state)
    assert not lifecycle.status(state).running


def test_a_start_that_fails_halfway_stops_what_was_started(tmp_path: Path) -> None:
    """Here the last part fails; port and threads of those before are gone afterwards."""

    class Broken:
        def start(self) -> None:
            raise RuntimeError("no such luck")

        def stop(self) -> None: ...

    before = {child.pid for child in psutil.Process().children(recursive=True)}
    cloud = Cloud(tmp_path)
    cloud._parts.append(("broken", Broken()))
    with pytest.raises(RuntimeError, match="no such luck"):
        cloud.start()
    assert not listens(int(cloud.front.url.rpartition(":")[2]))
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= before


def test_a_reset_removes_what_a_job_nested_too_deep(state: Path) -> None:
    """Deeper than Python recurses: the folder of a machine that was lost while a hostile job ran."""
    (state / lifecycle.LOCK).touch()
    fd = os.open(state, os.O_RDONLY)
    for _ in range(2000):
        os.mkdir("deep", dir_fd=fd)
        below = os.open("deep", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    lifecycle.reset(state)
    assert list(state.iterdir()) == []
