"""The command line against the deployed system: the real API, real hosts, real logs and files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from deployed_once import ROOT, Deployed

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

Run = Callable[..., "subprocess.CompletedProcess[str]"]


STORY_S = 30.0


@pytest.fixture(scope="module")
def run(deployed: Deployed, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """`spillway …` in an empty folder; the URL and token come from the embedded cloud's status file."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("SPILLWAY_", "AWS_"))}
    environment = clean | {"SPILLWAY_LOCAL_STATE": str(deployed.state), "PYTHONPATH": str(ROOT)}
    folder = tmp_path_factory.mktemp("work")

    def call(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "spillway", *args],
            capture_output=True,
            text=True,
            timeout=240,
            cwd=folder,
            env=environment,
        )

    return call


@pytest.fixture(scope="module")
def job(run: Run, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One job that has run, with an input folder, an output, a result and a log."""
    folder = tmp_path_factory.mktemp("inputs")
    (folder / "run.sh").write_text(
        '#!/bin/sh\necho "hello $WHO"; mkdir out; cp data out/copy; echo \'{"score": 3}\' > r.json\n'
    )
    (folder / "run.sh").chmod(0o755)
    (folder / "data").write_text("data")
    done = run(
        *("submit", "cd in && ./run.sh && mv out r.json ..", "--timeout", "60", "--name", "e2e", "--env", "WHO=world"),
        *(
            "--input",
            f"{folder}:in",
            "--output",
            "out/*",
            "--result",
            "r.json",
            "--wait",
            "--wait-timeout",
            "200",
            "--json",
        ),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_waited_job_has_its_result(job: dict[str, Any]) -> None:
    assert (job["state"], job["exit_code"], job["result"]) == ("succeeded", 0, {"score": 3})


def test_its_log_is_printed(run: Run, job: dict[str, Any]) -> None:
    done = run("logs", job["id"], "--follow")
    assert (done.returncode, done.stdout) == (0, "hello world\n")


def test_its_files_are_fetched(run: Run, job: dict[str, Any], tmp_path: Path) -> None:
    done = run("results", job["id"], "--into", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / job["id"] / "out" / "copy").read_text() == "data"
    assert json.loads((tmp_path / job["id"] / "result.json").read_text()) == {"score": 3}


def test_it_is_listed_with_its_pool(run: Run, job: dict[str, Any]) -> None:
    assert job["id"] in run("status").stdout
    shown = json.loads(run("status", "--pool", "default", "--json").stdout)
    assert job["id"] in [item["id"] for item in shown["jobs"]]
    assert job["host"] in [host["id"] for host in shown["hosts"]]


def test_its_story_and_its_hosts_are_told(run: Run, job: dict[str, Any]) -> None:
    """The deployed functions wrote each change of state, in order and with a reason; the API puts it into sentences."""
    deadline = time.monotonic() + STORY_S
    while True:  # each function writes its lines after all else that it has to do
        lines = json.loads(run("story", job["id"], "--json").stdout)["items"]
        told = [line["event"] for line in lines]
        if [event for event in told if event != "running"] == ["pending", "assigned", "succeeded"]:
            break  # a finish may have overtaken its start
        assert time.monotonic() < deadline, lines
    assert all(line["reason"] for line in lines)
    assert [line["at"] for line in lines] == sorted(line["at"] for line in lines)
    assert "has succeeded" in run("why", job["id"]).stdout
    hosted = json.loads(run("story", job["host"], "--json").stdout)["items"]
    assert [line["event"] for line in hosted][:2] == ["launching", "ready"]
    assert f"{job['host']} of pool default" in run("why", job["host"]).stdout


def test_a_plan_is_printed_from_the_deployed_system(run: Run, job: dict[str, Any]) -> None:
    """EC2's list is in it: the API's role may read all that a pass reads."""
    done = run("plan", "default", "--json")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert plan["pool"] == "default"
    assert isinstance(plan["listed"], int)
    assert run("plan", "default").returncode == 0


def test_a_failing_command_is_exit_code_1(run: Run, job: dict[str, Any]) -> None:
    done = run("submit", "exit 3", "--timeout", "20", "--wait", "--wait-timeout", "200")
    assert done.returncode == 1
    assert "failed" in done.stdout


@pytest.mark.parametrize(
    ("args", "code", "sentence"),
    [
        (["status", "job-00000000000000000000000000"], 2, "job-00000000000000000000000000"),
        (["submit", "true", "--cpu", "0"], 2, "cpu"),
        (["submit", "true", "--cpu", "1000"], 2, "cpu"),
        (["submit", "true", "--pool", "nowhere"], 2, "nowhere"),
        (["submit", "true", "--memory", "-1"], 2, "memory_mib"),
        (["status", "--token", "spw_wrong"], 3, "token"),
    ],
)
def test_the_deployed_api_refuses_in_sentences(run: Run, args: list[str], code: int, sentence: str) -> None:
    """A mistake is a 4xx that names its field: exit code 2, and no retries that end in "cannot reach"."""
    done = run(*args)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert sentence in done.stderr


def test_a_batch_with_a_bad_row_submits_nothing(run: Run, tmp_path: Path) -> None:
    """The server's path of the field is told as the file's line."""
    (tmp_path / "jobs.csv").write_text("command,name,memory_mib\ntrue,first-of-batch,64\ntrue,second-of-batch,1\n")
    done = run("batch", str(tmp_path / "jobs.csv"))
    assert done.returncode == 2
    assert "line 3, memory_mib" in done.stderr
    assert "first-of-batch" not in run("status").stdout


def test_local_status_tells_where_everything_is(run: Run) -> None:
    """The four fields that any AWS tool needs, and the counters."""
    found = json.loads(run("local", "status", "--json").stdout)
    assert found.keys() >= {"aws_endpoint_url", "api_url", "token", "pid"}
    assert found["api_url"].startswith(found["aws_endpoint_url"])
    assert found["counters"]["calls"]["lambda:CreateFunction"] >= 9


def test_an_array_by_the_command_line(run: Run, tmp_path: Path) -> None:
    """A line of a file for each job; one table at the end."""
    lines = tmp_path / "students.csv"
    lines.write_text("student,seed\nada,1\nbob,2\n=cmd,3\n")
    command = 'echo "{\\"seen\\": $SPILLWAY_PARAM_SEED}" > r.json'
    submitted = run(
        *("array", "submit", command, "--elements", str(lines), "--result", "r.json", "--timeout", "60"),
        *("--cpu", "0.25", "--memory", "64", "--name", "course", "--wait", "--json"),
    )
    assert submitted.returncode == 0, submitted.stderr
    array = json.loads(submitted.stdout)
    assert (array["state"], array["counts"]) == ("succeeded", {"succeeded": 3})
    table = run("array", "results", array["id"]).stdout.splitlines()
    assert table[0].endswith("parameters.student,parameters.seed,result.seen")
    assert [row.split(",")[-3:] for row in table[1:]] == [["ada", "1", "1"], ["bob", "2", "2"], ["'=cmd", "3", "3"]]
    assert run("array", "results", array["id"], "--into", str(tmp_path / "all.csv")).returncode == 0
    assert (tmp_path / "all.csv").read_text().splitlines() == table
    assert "3 succeeded" in run("array", "show", array["id"]).stdout
    assert array["id"] in run("array", "list").stdout
    assert run("array", "elements", array["id"], "--state", "failed").stdout.count("job-") == 0
    assert "succeeded" in run("array", "cancel", array["id"]).stdout


def test_tokens_and_quotas_from_the_command_line(run: Run) -> None:
    """The token is all that `create` prints, so that a script can take it; what is over the quota ends with 3 and the sentence."""
    made = run("token", "create", "cs404", "--days", "1", "--note", "by hand")
    assert made.returncode == 0, made.stderr
    token = made.stdout.strip()
    listed = json.loads(run("token", "list", "--json").stdout)["items"]
    mine = next(each for each in listed if each["owner"] == "cs404")
    assert mine["id"] in made.stderr
    assert "by hand" in run("token", "list").stdout
    assert run("owner", "set", "cs404", "jobs_max=0", "cpu_max=2.5").stdout == (
        "cs404: jobs_max 0, cpu_max 2.5, usd_per_day no limit\n"
    )
    refused = run("submit", "true", "--timeout", "60", "--token", token)
    assert refused.returncode == 3
    assert "cs404 may have 0 jobs that have not ended" in refused.stderr
    assert "no limit" in run("owner", "set", "cs404", "jobs_max=").stdout
    assert "cores of a pool at work: at most 2.5" in run("owner", "show", "cs404", "--token", token).stdout
    assert "cs404" in run("owner", "list").stdout
    assert run("owner", "set", "cs404", "hosts=3").returncode == 2
    assert run("token", "list", "--token", token).returncode == 3
    gone = run("token", "revoke", mine["id"])
    assert "is revoked: submitter of cs404, gone in 60 s at most" in gone.stdout
