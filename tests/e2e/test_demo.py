"""The demo from outside: the whole deployed system, its report, and what is left when it ends or is stopped."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from spillway.demo.embedded import Embedded
from spillway.errors import Unreachable

ROOT = Path(__file__).resolve().parents[2]
KEYS = {
    *("jobs", "by_state", "instances_launched", "run_instances_calls", "instances_left", "deploy_s", "total_s"),
    *("warm_submit_to_start_ms_p50", "cold_submit_to_start_ms_p50", "lambda_cold_start_ms_p50"),
}
OURS = re.compile(r"spillway-[0-9]+-[0-9a-f]+")
STOPPED = (130, -signal.SIGINT)  # a shell says 130 of both

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all runs of this file: what the first one packages, the others find again, as at home."""
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(autouse=True)
def nothing_is_left(state: Path) -> Iterator[None]:
    """No process that names the folder, no mount below it and no control group of its machines outlives a demo."""
    groups_before = control_groups()
    yield
    assert naming(state) == []
    assert [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(state) in line] == []
    assert control_groups() - groups_before == set()


def naming(state: Path) -> list[str]:
    """Processes whose command line or environment names the folder."""
    found = []
    for process in psutil.process_iter():
        try:
            facts = [*process.cmdline(), *process.environ().values()]
            alive = process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            continue
        if alive and process.pid != os.getpid() and any(str(state) in fact for fact in facts):
            found.append(f"{process.pid} {' '.join(process.cmdline())[:200]}")
    return found


def control_groups() -> set[str]:
    """Groups of embedded clouds (`spillway-<pid>-…`) that run no more; others may run beside this test."""
    # os.walk, because groups of others vanish while one looks, and a glob stumbles over that
    groups = [Path(at, name) for at, names, _ in os.walk("/sys/fs/cgroup") for name in names if OURS.fullmatch(name)]
    return {str(path) for path in groups if not psutil.pid_exists(int(path.name.split("-")[1]))}


def start(state: Path, *options: str, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "spillway", "demo", "--state", str(state), *options],
        cwd=ROOT,
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # as a shell does with what it starts by `&`
    )


@pytest.mark.timeout(600)
def test_the_demo_grades_everything_and_leaves_nothing(state: Path) -> None:
    """Every mark is the expected one, twenty cold hosts take at most two RunInstances calls, and the fleet ends at zero."""
    process = start(state, "--json")
    out, err = process.communicate(timeout=580)
    assert process.returncode == 0, err
    report: dict[str, Any] = json.loads(out)
    assert report == json.loads((state / "report.json").read_text())
    assert report.keys() >= KEYS
    assert report["marks_wrong"] == {}
    assert report["instances_left"] == 0
    assert report["processes_left"] == 0
    assert report["batch_run_instances_calls"] <= 2
    assert report["instances_launched"] >= report["batch_jobs"]
    assert sum(report["by_state"].values()) == report["jobs"]
    assert report["lambda_cold_starts"] > 0
    for figure in ("warm_submit_to_start_ms_p50", "cold_submit_to_start_ms_p50", "lambda_cold_start_ms_p50"):
        assert report[figure] > 0


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("number", "at"),
    [
        (signal.SIGINT, "Starting the embedded cloud"),
        (signal.SIGINT, "Deploying with chalice"),
        (signal.SIGTERM, "jobs in one request"),
    ],
    ids=["while-it-starts", "while-it-deploys", "while-hosts-boot"],
)
def test_a_demo_that_is_stopped_leaves_nothing(state: Path, number: signal.Signals, at: str) -> None:
    """Ctrl-C or SIGTERM in the middle: exit code 130, and everything that was started has ended."""
    process = start(state)
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if at in line:
            break
    if number == signal.SIGTERM:
        time.sleep(3)  # not for anything: any moment between the request and the end of the boots will do
    process.send_signal(number)
    said.append(process.communicate(timeout=120)[1])
    assert process.returncode in STOPPED, "".join(said)
    assert "Traceback" not in "".join(said)


@pytest.mark.timeout(600)
def test_a_demo_with_keep_leaves_a_cloud_to_play_with(state: Path) -> None:
    """It stays up with what was deployed, is told how to be used and stopped, is not run over, and `local down` ends all of it."""
    kept = {"SPILLWAY_LOCAL_STATE": str(state / "kept")}

    def spillway(*args: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "spillway", *args]
        return subprocess.run(command, cwd=ROOT, env=os.environ | kept, capture_output=True, text=True, timeout=100)

    process = start(state, "--keep", "--json", **kept)
    try:
        out, err = process.communicate(timeout=580)
        assert process.returncode == 0, err
        assert json.loads(out)["processes_left"] is None
        endpoint = json.loads(spillway("local", "status", "--json").stdout)["aws_endpoint_url"]
        assert all(words in err for words in ("submit 'echo hello' --wait", "local down", endpoint))
        submitted = spillway("submit", "echo hello", "--wait")
        assert submitted.returncode == 0, submitted.stderr
        again = spillway("demo", "--keep", "--state", str(state))
        assert (again.returncode, "spillway local down" in again.stderr) == (2, True)
        assert spillway("status").returncode == 0
    finally:
        down = spillway("local", "down", "--json")
    assert json.loads(down.stdout) == {"stopped": True}


@pytest.mark.timeout(120)
def test_a_demo_with_keep_that_is_stopped_leaves_nothing(state: Path) -> None:
    """What did not come to its end is no cloud to play with: ctrl-C ends it too."""
    process = start(state, "--keep", SPILLWAY_LOCAL_STATE=str(state / "kept"))
    assert process.stderr is not None
    assert any("Bootstrapping" in line for line in process.stderr)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode in STOPPED, said


def test_a_demo_that_was_stopped_as_it_started_can_be_run_again(tmp_path: Path) -> None:
    """The cloud's folder is known as one even if the cloud never came to say so; else every later demo would refuse it."""
    (tmp_path / "localcloud").mkdir()
    (tmp_path / "localcloud" / "__init__.py").touch()
    (tmp_path / "localcloud" / "__main__.py").write_text("raise SystemExit('ended early')")
    for _ in range(2):
        with pytest.raises(Unreachable, match="ended early"):
            Embedded(tmp_path, tmp_path / "state", lambda line: None).start()
