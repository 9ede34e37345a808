"""Secrets at hand-over: only there, only the owner's own, and what happens where there is none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from town import OFFERING, Town

from chalicelib.control.submit import submit
from chalicelib.core.job import Job, JobState
from chalicelib.core.job_spec import JobSpec
from chalicelib.core.pool import PoolSpec
from chalicelib.errors import BadRequest, CloudUnavailable

VALUE = "s3cret-value-91131"
NAMED = {"TOKEN": "ssm:token"}


@pytest.fixture
def town() -> Town:
    town = Town(PoolSpec(offerings=(OFFERING,), linger_s=3600, slots_per_host=4))
    town.cloud.secrets.values["ssm:/spillway/town/alice/token"] = VALUE
    return town


def inbox(town: Town) -> dict[str, Any]:
    (host,) = town.hosts()
    found: dict[str, Any] = json.loads(town.cloud.blobs.objects[f"inbox/{host.userid}/inbox.json"])
    return found


@pytest.mark.parametrize("warm", [False, True])
def test_a_secret_is_in_the_hosts_inbox_and_nowhere_else(town: Town, warm: bool) -> None:
    """No row, no message, no user data, no story, no notice holds its value."""
    if warm:
        town.submit()
        town.run(40)
    job = town.submit(secrets=NAMED)
    town.run(10 if not warm else 1)
    (given,) = inbox(town)["assignments"]
    assert (given["secrets"], given["values"]) == (NAMED, {"ssm:token": VALUE})
    town.run(200)
    assert town.job(job.id).state is JobState.SUCCEEDED
    (agent,) = town.agents.values()
    assert VALUE not in json.dumps(agent.manifest)
    assert VALUE not in repr(town.world())
    assert VALUE not in repr(town.stores)
    others = [body for key, body in town.cloud.blobs.objects.items() if not key.startswith("inbox/")]
    assert not [body for body in others if VALUE.encode() in body]
    assert VALUE not in repr([call for call in town.cloud.calls.made if not call.operation.startswith("s3.Put")])


def test_a_value_leaves_the_inbox_once_its_job_has_begun(town: Town) -> None:
    """By the next pass, the tick's at the latest: nobody has to fetch it any more, also while another job runs there."""
    town.submit()
    town.run(40)
    job = town.submit("run 500", secrets=NAMED, cpu=0.5)
    town.run(2)
    assert town.job(job.id).state is JobState.RUNNING
    assert VALUE in json.dumps(inbox(town))
    town.run(61)
    assert town.job(job.id).state is JobState.RUNNING
    assert inbox(town)["assignments"] == []
    assert town.hosts()[0].secrets_at is None
    writes = town.cloud.calls.count("s3.PutObject")
    town.run(200)
    assert town.cloud.calls.count("s3.PutObject") == writes
    assert len(town.cloud.compute.rings) == 1


def test_a_value_that_was_not_fetched_yet_stays(town: Town) -> None:
    """The job that waits behind another one on its host has begun nothing."""
    town.submit()
    town.run(40)
    first, second = (town.submit("run 300", secrets=NAMED, cpu=1.0, memory_mib=100) for _ in range(2))
    town._begin = lambda agent, a: None if a["job"] == second.id else Town._begin(town, agent, a)  # type: ignore[method-assign]
    town.run(70)
    assert town.job(first.id).state is JobState.RUNNING
    assert town.job(second.id).state is JobState.ASSIGNED
    assert [a["job"] for a in inbox(town)["assignments"]] == [second.id]


def test_an_owner_gets_its_own_secret_of_a_name_only(town: Town) -> None:
    """Bob's job names the same secret, and there is none of that name for him."""
    job = submit(town.plane, JobSpec(command="run 5", timeout_s=60, secrets=NAMED), "bob").job
    town.run(60)
    ended = town.job(job.id)
    assert ended.state is JobState.FAILED
    assert ended.reason == "its secret ssm:token (/spillway/town/bob/token): there is none of this name"
    assert not town.began


def test_a_missing_secret_fails_its_job_and_no_other_of_the_host(town: Town) -> None:
    """The others are handed over as if nothing were."""
    town.submit()
    town.run(40)
    good, bad, plain = town.submit(secrets=NAMED), town.submit(secrets={"X": "ssm:none"}, max_attempts=5), town.submit()
    town.run(30)
    assert [town.job(job.id).state for job in (good, bad, plain)] == [
        JobState.SUCCEEDED,
        JobState.FAILED,
        JobState.SUCCEEDED,
    ]
    assert town.job(bad.id).charged == 0
    assert not any(host.assignments for host in town.hosts())


def test_a_secret_that_was_just_made_is_found(town: Town) -> None:
    """That there was none is not remembered: who reads the sentence makes it, and submits again at once."""
    town.submit()
    town.run(40)
    first = town.submit("run 1", secrets={"X": "ssm:new"})
    town.run(1)
    assert town.job(first.id).state is JobState.FAILED
    town.cloud.secrets.values["ssm:/spillway/town/alice/new"] = "new"
    again = town.submit("run 1", secrets={"X": "ssm:new"})
    town.run(3)
    assert town.job(again.id).state is JobState.SUCCEEDED


@pytest.mark.parametrize("warm", [False, True])
def test_a_service_that_does_not_answer_is_asked_again(town: Town, warm: bool) -> None:
    """The job is handed over late; others of the same host are not held up."""
    if warm:
        town.submit()
        town.run(40)
    town.cloud.calls.fail("ssm.GetParameters", CloudUnavailable("throttled"), times=2)
    job, other = town.submit("run 1", secrets=NAMED), town.submit("run 1")
    town.run(30 if not warm else 5)
    assert town.job(other.id).state is JobState.SUCCEEDED
    assert town.job(job.id).state is JobState.ASSIGNED
    town.run(60)
    assert town.job(job.id).state is JobState.SUCCEEDED
    assert sum(town.began.values()) == (3 if warm else 2)


def test_jobs_of_a_batch_share_one_request(town: Town) -> None:
    """A thousand jobs that name one secret must not be a thousand questions."""
    for name in ("a", "b", "c"):
        town.cloud.secrets.values[f"ssm:/spillway/town/alice/{name}"] = name
    town.submit()
    town.run(40)
    jobs = [
        town.submit("run 1", secrets={"A": "ssm:a", "B": "ssm:b", "C": f"ssm:{'abc'[n % 3]}"}, cpu=0.1, memory_mib=64)
        for n in range(4)
    ]
    town.run(10)
    assert all(town.job(job.id).state is JobState.SUCCEEDED for job in jobs)
    assert town.cloud.calls.count("ssm.GetParameters") == 1


def test_what_has_begun_with_its_secret_is_left_to_run_when_the_secret_goes(town: Town) -> None:
    """Its start ping is late, so its inbox is written again: the claim says that it must not be ended."""
    town.submit()
    town.run(40)
    job = town.submit("run 30", secrets=NAMED)
    (agent,) = town.agents.values()
    town.deaf.add(agent.machine.id)
    town.run(2)
    assert town.began[job.id, 1] == 1
    del town.cloud.secrets.values["ssm:/spillway/town/alice/token"]
    town.run(20)
    assert _rings(town) >= 2
    assert not town.job(job.id).ended
    town.deaf.clear()
    town.run(60)
    assert town.job(job.id).state is JobState.SUCCEEDED


def _rings(town: Town) -> int:
    return len(town.cloud.compute.rings)


@pytest.mark.parametrize("name", ["ssm:../bob/token", "ssm:a//b", "ssm:/a", "ssm:a b", "ssm:" + "/".join("abcdefghi")])
def test_a_name_that_no_secret_can_have_is_refused_at_submit(town: Town, name: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        town.submit(secrets={"X": name})
    assert refusal.value.faults[0].field == "secrets.X"


def test_the_job_says_names_and_never_values(town: Town) -> None:
    job: Job = town.submit(secrets=NAMED)
    assert town.job(job.id).spec.secrets == NAMED
