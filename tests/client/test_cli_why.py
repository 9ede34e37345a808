"""`spillway why`, `story` and `plan`: sentences and tables for people, one document for programs."""

from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

from spillway.cli import app
from spillway.cli.table import number

TOKEN = "spw_" + "t" * 43


@pytest.fixture
def here(server: Any, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    """Commands in this process; the variables are this process's."""
    monkeypatch.setenv("SPILLWAY_URL", server.url)
    monkeypatch.setenv("SPILLWAY_TOKEN", TOKEN)
    return CliRunner()


def test_why_is_told_in_sentences(run: Any, server: Any) -> None:
    job = server.add({"command": "true", "timeout_s": 5})[0]["id"]
    done = run("why", job)
    assert (done.code, done.out.splitlines()) == (0, [f"{job} waits for a host.", "It is the first in the queue."])
    assert run("why", "host-1-0", "--json").json() == {
        "subject": "host-1-0",
        "state": None,
        "at": 1.0,
        "sentences": ["host-1-0 is over."],
    }


def test_why_of_what_is_neither_job_nor_host_says_what_to_do(here: CliRunner) -> None:
    done = here.invoke(app, ["why", "default"])
    assert done.exit_code == 2
    assert "its plan says" in done.stderr
    assert here.invoke(app, ["why", "host-2"]).exit_code == 2
    done = here.invoke(app, ["why", "array-1"])
    assert (done.exit_code, "`spillway array show` says" in done.stderr) == (2, True)


def test_a_story_is_a_table_of_its_lines(here: CliRunner) -> None:
    for subject, event in (("host-1-0", "ready"), ("default", "refused"), ("pool/default", "refused")):
        lines = here.invoke(app, ["story", subject]).stdout.splitlines()
        assert lines[0].split("\t") == ["at", "ago", "event", "why"]
        assert lines[1].split("\t")[2] == event
    assert '"reason": "hello"' in here.invoke(app, ["story", "host-1-0", "--json"]).stdout


def test_a_plan_is_printed_with_target_actions_and_who_waits(here: CliRunner) -> None:
    text = here.invoke(app, ["plan", "default"]).stdout
    assert "3 jobs wait in its queue." in text
    assert "Wanted: 2 hosts. 3 jobs wait" in text
    assert "EC2 lists 1 instance of it." in text
    assert "No c7i.large spot in us-east-1a until 14:03 UTC." in text
    assert "1 action would be done." in text
    assert "waiting_time_s\t12.5" in text
    assert "drain\thost-1-0\tGive host-1-0 no new work, because idle." in text
    assert "job-7\tall 1 hosts are taken" in text
    assert "2 more wait." in text


def test_a_plan_says_what_it_does_not_know(here: CliRunner, server: Any) -> None:
    """No list of EC2's, a queue too long to be read whole, no target yet."""
    server.plan |= {
        "listed": None,
        "backlog": {"seen": 500, "complete": False},
        "target": None,
        "actions": [],
        "waits": [],
    }
    text = here.invoke(app, ["plan", "default"]).stdout
    assert "EC2 did not answer" in text
    assert "more than 500 jobs wait" in text
    assert "Wanted" not in text
    assert "Nothing would be done." in text


def test_numbers_have_no_digits_that_say_nothing() -> None:
    assert [number(n) for n in (3.0, 0.25, 1234.5, 0, 100, 1e-9)] == ["3", "0.25", "1234.5", "0", "100", "0"]
