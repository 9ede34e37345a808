"""The command line as scripts see it: a process, its exit code, its stdout, its stderr."""

from __future__ import annotations

import csv
import io
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from spillway.cli import app
from spillway.cli.submit import input_option, pairs
from spillway.errors import BadInput, FieldError, Refused

TOKEN = "spw_" + "t" * 43


@pytest.fixture
def here(server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CliRunner:
    """Commands in this process, for what needs no process of its own (the variables are this process's)."""
    monkeypatch.setenv("SPILLWAY_URL", server.url)
    monkeypatch.setenv("SPILLWAY_TOKEN", TOKEN)
    monkeypatch.chdir(tmp_path)
    return CliRunner()


def finish_at_look(server: Any, state: str = "succeeded", **facts: Any) -> None:
    """Every job ends when it is looked at for the first time."""
    server.on_look = lambda job: server.finish(job["id"], state, **facts)


def test_help_answers_at_once() -> None:
    """`spillway --help` takes less than 300 ms of processor time (a busy machine flips nothing)."""
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, "-m", "spillway", "--help"], capture_output=True, text=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert "submit" in done.stdout
    assert min(times) < 0.3, times


def test_nothing_heavy_is_imported_for_the_command_line() -> None:
    code = "import sys, spillway.cli; print([m for m in ('httpx', 'rich', 'boto3', 'moto') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_submit_prints_the_id(run: Any, server: Any) -> None:
    done = run("submit", "echo hi", "--cpu", "2", "--timeout", "9", "--env", "A=b=c", "--label", "course=c1")
    assert (done.code, done.out.strip()) == (0, next(iter(server.jobs)))
    spec = server.jobs[done.out.strip()]["spec"]
    assert (spec["command"], spec["cpu"], spec["timeout_s"]) == ("echo hi", 2.0, 9)
    assert (spec["environment"], spec["labels"]) == ({"A": "b=c"}, {"course": "c1"})


def test_submit_uploads_its_inputs(run: Any, server: Any, tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "a").write_text("a")
    (tmp_path / "params.json").write_text("{}")
    done = run("submit", "true", "--input", "tests:t", "--input", "params.json", "--output", "*.txt", "--json")
    spec = done.json()["spec"]
    assert [(i["path"], i.get("unpack", False)) for i in spec["inputs"]] == [("t", True), ("params.json", False)]
    assert spec["outputs"] == ["*.txt"]
    assert len(server.uploads) == 2


def test_submit_says_who_is_told_and_what_is_kept(run: Any, server: Any) -> None:
    line = "submit true --webhook https://marks.example.org/x --notice --archive --json"
    spec = run(*line.split()).json()["spec"]
    assert (spec["notify"], spec["archive"]) == ({"webhook": "https://marks.example.org/x", "topic": True}, True)
    spec = run("submit", "true", "--json").json()["spec"]
    assert "notify" not in spec
    assert "archive" not in spec


def test_where_there_are_no_jobs_a_newcomer_is_told_where_to_look(run: Any) -> None:
    """A table of heads alone looks like a fault."""
    assert run("status").out.startswith("There are no jobs in pool default; --pool NAME looks at another")


@pytest.mark.parametrize(("state", "code"), [("succeeded", 0), ("failed", 1), ("timed_out", 1), ("cancelled", 1)])
def test_a_waited_job_decides_the_exit_code(run: Any, server: Any, state: str, code: int) -> None:
    finish_at_look(server, state, reason="as told")
    done = run("submit", "true", "--wait")
    assert done.code == code
    assert f"{state}: as told" in done.out


def test_a_wait_that_is_too_long_is_exit_code_4(run: Any) -> None:
    done = run("submit", "true", "--wait", "--wait-timeout", "0.2")
    assert done.code == 4
    assert "had not ended" in done.err


@pytest.mark.parametrize(
    ("args", "code", "sentence"),
    [
        (["submit", "true", "--cpu", "-1"], 2, "cpu: should be more than 0"),
        (["submit", "true", "--input", "nowhere"], 2, "no file or folder nowhere"),
        (["submit", "true", "--env", "novalue"], 2, "NAME=VALUE"),
        (["submit", "true", "--cpu", "many"], 2, "--cpu"),
        (["submit"], 2, "COMMAND"),
        (["status", "job-none"], 2, "no job job-none"),
        (["logs", "job-none"], 2, "no job job-none"),
        (["status", "--pool", "none"], 2, "no pool none"),
        (["batch", "nowhere.csv"], 2, "nowhere.csv cannot be read"),
        (["status", "--token", "spw_wrong"], 3, "check the token"),
    ],
)
def test_mistakes_are_sentences(run: Any, args: list[str], code: int, sentence: str) -> None:
    """An expected problem is an exit code and a sentence, never a traceback."""
    done = run(*args)
    assert done.code == code
    assert sentence in done.err
    assert "Traceback" not in done.err
    assert done.out == ""


def test_a_server_that_is_not_there_is_exit_code_3(run: Any) -> None:
    done = run("status", environ={"SPILLWAY_URL": "http://127.0.0.1:9", "SPILLWAY_TOKEN": "t"})
    assert done.code == 3
    assert "does not answer" in done.err
    assert "Traceback" not in done.err


def test_no_server_named_is_exit_code_2(run: Any) -> None:
    done = run("status", environ={})
    assert done.code == 2
    assert "spillway demo --keep" in done.err


def test_one_mistake_is_told_once() -> None:
    """Where a server's sentence is its only field's, saying both is saying it twice."""
    one = FieldError("cpu", "is 500; at most 2")
    for sentence in ("cpu is 500; at most 2", "cpu: is 500; at most 2"):
        assert str(Refused(sentence, fields=[one])) == "cpu: is 500; at most 2"
    longer = "owner: this token submits for ada only"
    assert str(Refused(longer, fields=[FieldError("owner", "must be ada")])) == longer
    assert str(Refused("The job is wrong", fields=[one])).splitlines() == [
        "The job is wrong",
        "  cpu: is 500; at most 2",
    ]


def test_errors_are_json_too(run: Any) -> None:
    """With --json stdout holds one JSON document, also when something is wrong."""
    done = run("submit", "true", "--cpu", "-1", "--json")
    assert done.code == 2
    assert done.json()["errors"] == [{"field": "cpu", "message": "should be more than 0"}]
    assert done.json()["exit_code"] == 2


@pytest.mark.parametrize(
    "args",
    [
        ["submit", "true", "--json"],
        ["submit", "true", "--wait", "--json"],
        ["status", "--json"],
        ["status", "JOB", "--json"],
        ["status", "--pool", "default", "--json"],
        ["logs", "JOB", "--json"],
        ["results", "JOB", "--json"],
        ["cancel", "JOB", "--json"],
        ["results", "JOB", "--into", "files", "--json"],
    ],
)
def test_json_is_all_that_stdout_holds(here: CliRunner, server: Any, args: list[str]) -> None:
    first = here.invoke(app, ["submit", "true", "--json"])
    job_id = json.loads(first.stdout)["id"]
    finish_at_look(server)
    server.finish(job_id)
    done = here.invoke(app, [job_id if arg == "JOB" else arg for arg in args])
    assert done.exit_code == 0, done.output
    json.loads(done.stdout)


def test_status_of_a_pool_says_its_last_minute_in_a_line(here: CliRunner, server: Any) -> None:
    """What waits, for how long, what is wanted and why, what it costs; as JSON the sample itself."""
    shown = here.invoke(app, ["status", "--pool", "default"]).stdout
    assert "12 pending, 2 running; the oldest waits for 75 s; 3 hosts wanted: twelve wait; 0.09 USD" in shown
    document = json.loads(here.invoke(app, ["status", "--pool", "default", "--json"]).stdout)
    assert document["sample"]["waiting_time_s"] == 180.0


def test_status_shows_why_a_job_waits(here: CliRunner, server: Any) -> None:
    job_id = here.invoke(app, ["submit", "true", "--name", "mine"]).stdout.strip()
    server.jobs[job_id] |= {"waiting_for": "no c7i.large spot until 14:03"}
    shown = here.invoke(app, ["status"]).stdout
    assert "mine" in shown
    assert "no c7i.large spot until 14:03" in shown
    assert "host-1-0" in here.invoke(app, ["status", "--pool", "default"]).stdout


def test_status_chooses_jobs_and_says_where_none_fits(here: CliRunner, server: Any) -> None:
    """With a pool, too: what chooses means jobs, not the pool."""
    waits, ended = (here.invoke(app, ["submit", "true"]).stdout.strip() for _ in range(2))
    server.finish(ended)
    shown = here.invoke(app, ["status", "--state", "pending", "--since", "2"]).stdout
    assert waits in shown
    assert ended not in shown
    chosen = here.invoke(app, ["status", "--pool", "default", "--state", "pending", "--json"])
    assert [job["id"] for job in json.loads(chosen.stdout)["items"]] == [waits]
    assert "No job fits." in here.invoke(app, ["status", "--owner", "eve"]).stdout
    labelled = here.invoke(app, ["submit", "true", "--label", "course=cs101"]).stdout.strip()
    for label in ("course=cs101", "course:cs101"):  # as it was said at submission, and as the API says it
        fits = here.invoke(app, ["status", "--label", label, "--json"])
        assert [job["id"] for job in json.loads(fits.stdout)["items"]] == [labelled]


def test_cancel_asks_and_tells_what_became_of_it(here: CliRunner, server: Any) -> None:
    """A job that has ended is shown as it is; the exit code is about the asking."""
    waits, ended = (here.invoke(app, ["submit", "true"]).stdout.strip() for _ in range(2))
    server.finish(ended)
    done = here.invoke(app, ["cancel", waits, ended])
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [f"{waits} is being cancelled", f"{ended} succeeded"]
    assert here.invoke(app, ["cancel", "no-such-job"]).exit_code == 2


def test_logs_print_what_was_written_and_tell_a_cut(run: Any, server: Any) -> None:
    job_id = run("submit", "true").out.strip()
    server.logs[job_id] = "grüße\n".encode() * 3
    server.finish(job_id, log={"bytes": 1, "cut": True})
    done = run("logs", job_id)
    assert done.out == "grüße\n" * 3
    assert "was cut" in done.err
    assert run("logs", job_id, "--json").json()["cut"] is True


def test_a_followed_log_ends_with_the_job(run: Any, server: Any) -> None:
    job_id = run("submit", "true").out.strip()
    server.logs[job_id] = b"first\n"

    def end() -> None:
        while ("GET", f"/jobs/{job_id}/log?from=6") not in server.requests:
            time.sleep(0.01)
        server.logs[job_id] += b"last\n"
        server.finish(job_id)

    thread = threading.Thread(target=end)
    thread.start()
    assert run("logs", job_id, "--follow").out == "first\nlast\n"
    thread.join()


def test_what_an_install_printed_is_found_by_the_host_or_the_job(run: Any, server: Any) -> None:
    """The one that changed last, unless another is named; a job that has had no host is told so."""
    assert run("logs", "host-1-0", "--install").out == "installed aa1\n"
    assert run("logs", "host-1-0", "--install", "--version", "bb").out == "installed bb2\n"
    assert "no such install" in run("logs", "host-1-0", "--install", "--version", "cc").err
    job_id = run("submit", "true").out.strip()
    assert "no host yet" in run("logs", job_id, "--install").err
    server.jobs[job_id]["host"] = "host-1-0"
    assert run("logs", job_id, "--install", "--json").json()["text"] == "installed aa1\n"


def test_results_are_fetched_into_a_folder(run: Any, server: Any, tmp_path: Path) -> None:
    job_id = run("submit", "true").out.strip()
    server.files[job_id] = {"report/a.html": b"<p>"}
    server.finish(job_id, result={"score": 7, "tests": []}, outputs=[{"path": "report/a.html", "bytes": 3}])
    done = run("results", job_id, "--into", "got")
    assert done.code == 0
    assert "2 files are in got." in done.err
    assert (tmp_path / "got" / job_id / "report" / "a.html").read_bytes() == b"<p>"
    assert json.loads((tmp_path / "got" / job_id / "result.json").read_text())["score"] == 7


def test_results_as_csv_hold_no_formula(run: Any, server: Any) -> None:
    """A spreadsheet would run a text that begins with an equals sign; results come from untrusted programs."""
    good, bad = (run("submit", "true", "--name", name).out.strip() for name in ("good", "=cmd()"))
    server.finish(good, result={"score": 7, "feedback": "fine", "tests": []}, exit_code=0)
    server.finish(bad, "failed", result={"feedback": "=HYPERLINK()"}, exit_code=1)
    done = run("results", good, bad, "--csv")
    assert done.code == 1
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert rows[0] | {} == {
        "job": good,
        "name": "good",
        "state": "succeeded",
        "exit_code": "0",
        "result.score": "7",
        "result.feedback": "fine",
    }
    assert (rows[1]["name"], rows[1]["result.feedback"]) == ("'=cmd()", "'=HYPERLINK()")


def test_ctrl_c_while_waiting_is_exit_code_130(server: Any, tmp_path: Path) -> None:
    """The job goes on; the command says that it stopped."""
    process = subprocess.Popen(
        [sys.executable, "-m", "spillway", "submit", "true", "--wait"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"SPILLWAY_URL": server.url, "SPILLWAY_TOKEN": TOKEN},
    )
    while not any("ids=" in path for _, path in server.requests):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in err


def test_commands_of_the_repository_say_when_there_is_no_checkout(tmp_path: Path) -> None:
    """An installed client alone has no `infra/` to run: a sentence, exit code 3."""
    source = Path(__file__).resolve().parents[2] / "spillway"
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "spillway").symlink_to(source)
    code = (
        "import sys, pathlib, spillway.checkout as c; c.__file__ = sys.argv.pop(1) + '/site/spillway/checkout.py';"
        "pathlib.Path.resolve = pathlib.Path.absolute;"
        "from spillway.cli import main; main()"
    )
    for command in (["bootstrap", "--stage", "x"], ["package"], ["demo"], ["local", "status"]):
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path), *command], capture_output=True, text=True, cwd=tmp_path
        )
        assert done.returncode == 3, done.stderr
        assert "there is no checkout here" in done.stderr


def test_inputs_name_their_destination_after_a_colon(tmp_path: Path) -> None:
    assert input_option("a/b:c/d") == ("a/b", "c/d")
    assert input_option("plain") == ("plain", None)
    odd = tmp_path / "with:colon"
    odd.write_text("")
    assert input_option(str(odd)) == (str(odd), None)
    with pytest.raises(BadInput):
        input_option("a:")


def test_pairs_keep_later_equals_signs() -> None:
    assert pairs(["A=1", "B="], "--env") == {"A": "1", "B": ""}
    with pytest.raises(BadInput):
        pairs(["=x"], "--env")


def test_submit_names_objects_repositories_secrets_and_outputs(run: Any, server: Any) -> None:
    """What is not uploaded is only named; a destination that ends in a slash is a folder to unpack into."""
    line = "submit true --input s3://b/a/tests.tgz:tests/ --input s3://b/a/x --input s3://b/all.zip:./ --json"
    line += " --git https://h/course/grader.git#autumn --git https://h/x --git-token ssm:t --secret KEY=ssm:lms/key"
    done = run(*line.split(), "--disk", "4096", "--image", "i:1", "--output", "report=r/*", "--output", "*=x")
    spec = done.json()["spec"]
    assert spec["inputs"] == [
        {"path": "tests", "s3": "s3://b/a/tests.tgz", "unpack": True},
        {"path": "x", "s3": "s3://b/a/x", "unpack": False},
        {"path": ".", "s3": "s3://b/all.zip", "unpack": True},
        {"path": "grader", "git": {"url": "https://h/course/grader.git", "branch": "autumn", "token": "ssm:t"}},
        {"path": "x", "git": {"url": "https://h/x", "token": "ssm:t"}},
    ]
    assert spec["outputs"] == [{"name": "report", "glob": "r/*"}, "*=x"]
    assert (spec["secrets"], spec["disk_mib"], spec["image"]) == ({"KEY": "ssm:lms/key"}, 4096, "i:1")
    assert not server.uploads
