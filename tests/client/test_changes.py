"""Jobs that are there, changed by SDK and CLI: one by one, or all that match, which are counted and confirmed first."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from spillway import Client
from spillway.cli import app
from spillway.errors import Refused

TOKEN = "spw_" + "t" * 43


@pytest.fixture
def here(server: Any, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    """Commands in this process; the variables are this process's."""
    monkeypatch.setenv("SPILLWAY_URL", server.url)
    monkeypatch.setenv("SPILLWAY_TOKEN", TOKEN)
    return CliRunner()


def submitted(here: CliRunner, count: int) -> list[str]:
    return [here.invoke(app, ["submit", "true"]).stdout.strip() for _ in range(count)]


def test_the_client_runs_again_moves_and_does_many(spillway: Client, server: Any) -> None:
    job = spillway.submit("true", timeout_s=5)
    assert spillway.reprioritise(job.id, 2).priority == 2
    with pytest.raises(Refused, match="has not ended"):
        spillway.retry(job.id)
    server.finish(job.id)
    again = spillway.retry(job.id, priority=1)
    assert (again.retry_of, again.priority) == (job.id, 1)
    counted = spillway.bulk("cancel", {"pool": "default"})
    assert (counted.count, counted.done) == (1, None)
    assert spillway.bulk("cancel", {"pool": "default"}, expect=1).done == [again.id]
    with pytest.raises(Refused, match="1 jobs match now, and 7 were expected"):
        spillway.bulk("cancel", {"pool": "default"}, expect=7)


def test_retry_prints_the_new_ids_and_reprioritise_the_class(here: CliRunner, server: Any) -> None:
    waits, ended = submitted(here, 2)
    server.finish(ended)
    done = here.invoke(app, ["retry", ended, "--priority", "0"])
    assert done.exit_code == 0
    assert server.jobs[done.stdout.strip()]["retry_of"] == ended
    moved = here.invoke(app, ["reprioritise", "3", waits])
    assert moved.stdout.strip() == f"{waits} has priority 3"
    assert here.invoke(app, ["retry", waits]).exit_code == 2


def test_jobs_that_match_are_counted_and_nothing_is_done_without_a_yes(here: CliRunner, server: Any) -> None:
    jobs = submitted(here, 3)
    refused = here.invoke(app, ["cancel", "--pool", "default"], input="n\n")
    assert "This cancels 3 jobs. Go on?" in refused.stdout
    assert refused.exit_code == 1
    assert not any(server.jobs[job].get("cancel_requested", False) for job in jobs)
    agreed = here.invoke(app, ["cancel", "--pool", "default"], input="y\n")
    assert agreed.exit_code == 0
    assert all(server.jobs[job].get("cancel_requested", False) for job in jobs)


@pytest.mark.parametrize(("options", "code"), [(["--yes"], 0), (["--expect", "2"], 0), (["--expect", "1"], 2)])
def test_a_script_says_yes_or_the_number(here: CliRunner, server: Any, options: list[str], code: int) -> None:
    """Of another number nothing is done."""
    jobs = submitted(here, 2)
    assert here.invoke(app, ["cancel", "--state", "pending", *options]).exit_code == code
    assert all(server.jobs[job].get("cancel_requested", False) is (code == 0) for job in jobs)


def test_json_only_counts_until_it_is_told_to_do_it(here: CliRunner) -> None:
    submitted(here, 2)
    counted = json.loads(here.invoke(app, ["cancel", "--pool", "default", "--json"]).stdout)
    assert (counted["count"], counted["done"]) == (2, None)
    done = json.loads(here.invoke(app, ["cancel", "--pool", "default", "--json", "--yes"]).stdout)
    assert len(done["done"]) == 2


@pytest.mark.parametrize(
    "words",
    [["cancel"], ["cancel", "job-1", "--pool", "default"], ["retry"], ["reprioritise", "5"]],
    ids=["neither", "both", "retry: neither", "reprioritise: neither"],
)
def test_jobs_are_named_or_described(here: CliRunner, words: list[str]) -> None:
    """One of both: a slip must not cancel a whole pool."""
    assert here.invoke(app, words).exit_code == 2


def test_nothing_that_matches_is_no_error(here: CliRunner) -> None:
    done = here.invoke(app, ["retry", "--state", "failed", "--yes"])
    assert (done.exit_code, done.stdout.strip()) == (0, "No job matches.")


def test_a_submission_says_how_long_it_may_wait_where_it_may_run_and_what_is_tried_again(
    here: CliRunner, server: Any
) -> None:
    words = ["--queue-ttl", "600", "--market", "spot", "--instance-type", "c7i.*", "--instance-type", "m7i.*"]
    job = here.invoke(app, ["submit", "true", *words, "--attempts", "3", "--retry-on", "exit:75"]).stdout.strip()
    spec = server.jobs[job]["spec"]
    assert (spec["queue_ttl_s"], spec["market"], spec["instance_types"]) == (600, "spot", ["c7i.*", "m7i.*"])
    assert (spec["max_attempts"], spec["retry_on"]) == (3, ["exit:75"])
