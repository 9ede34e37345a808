"""Other systems' graders in the control plane: what a job need not say, and what becomes of it when its grader is broken."""

from __future__ import annotations

import json
from typing import Any

import pytest
from town import OFFERING, Town

from chalicelib.api.job_wire import JobSpecWire, job_spec
from chalicelib.api.wire import convert
from chalicelib.control import families, handover, pings
from chalicelib.control.graders import FOLD_S
from chalicelib.core.family import Family
from chalicelib.core.job import Job, JobState
from chalicelib.core.job_spec import Install, JobSpec
from chalicelib.core.pool import PoolSpec
from chalicelib.errors import BadRequest

SPEC = PoolSpec(offerings=(OFFERING,), hosts_max=2, slots_per_host=2, linger_s=600)
INPUTS = [
    {"path": "source", "sha256": "a" * 64, "unpack": True},
    {"path": "submission", "sha256": "b" * 64, "unpack": True},
]


def spec(**document: Any) -> JobSpec:
    return job_spec(convert(document, JobSpecWire))


def refused(**document: Any) -> dict[str, str]:
    with pytest.raises(BadRequest) as caught:
        spec(**document)
    return {fault.field: fault.message for fault in caught.value.faults}


def notices(town: Town) -> list[dict[str, Any]]:
    return [dict(n) for n in town.cloud.notices.published if n["type"] == "grader_broken"]


def test_a_gradescope_job_says_what_to_grade_and_nothing_else() -> None:
    """Command, folder, time, results and setup.sh follow from the adapter; what a job says stands."""
    found = spec(adapter="gradescope", inputs=INPUTS)
    assert (found.command, found.folder, found.timeout_s) == ("/autograder/run_autograder", "/autograder", 600)
    assert [one.glob for one in found.outputs] == ["results/results.json"]
    assert found.install == Install(path="source/setup.sh")
    said = spec(adapter="gradescope", inputs=INPUTS, timeout_s=30, install={"script": "true"}, outputs=["results/*"])
    assert (said.timeout_s, said.install, len(said.outputs)) == (30, Install(script="true"), 2)
    handed = handover.assignment(
        Job(id="job-1", pool="default", owner="o", spec=found, state=JobState.PENDING, submitted_at=0.0), 1
    )
    assert (handed["adapter"], handed["install"]["path"]) == ("gradescope", "source/setup.sh")


@pytest.mark.parametrize(
    ("document", "field", "message"),
    [
        ({"adapter": "gradescope", "inputs": INPUTS[:1]}, "inputs", "have nothing at submission"),
        ({"adapter": "gradescope"}, "inputs", "have nothing at source"),
        ({"adapter": "gradescope", "inputs": INPUTS, "result": "r.json"}, "result", "is not said with adapter"),
        (
            {"adapter": "gradescope", "inputs": INPUTS, "folder": "/work"},
            "folder",
            "graders of gradescope expect /autograder",
        ),
        (
            {"adapter": "gradescope", "inputs": [*INPUTS[:1], {"path": "./submission", "text": "x"}]},
            "inputs[1]",
            "is a file at ./submission: unpack it there",
        ),
        ({"adapter": "prairielearn"}, "command", "is required: for prairielearn it is the grader's entrypoint"),
        (
            {"adapter": "prairielearn", "command": "x", "timeout_s": 601},
            "timeout_s",
            "is 601; prairielearn allows at most 600",
        ),
        ({"adapter": "gradescope", "inputs": INPUTS, "hosts": 2}, "hosts", "is 2; a grader of gradescope runs on one"),
        ({"adapter": "coursera", "command": "x"}, "inputs", "have nothing at submission"),
        (
            {"adapter": "moodle", "command": "x", "timeout_s": 1},
            "adapter",
            "must be command, gradescope, prairielearn or coursera",
        ),
        ({"timeout_s": 1}, "command", "is required where no family says it"),
    ],
)
def test_what_an_adapter_cannot_work_with_is_refused_by_field(
    document: dict[str, Any], field: str, message: str
) -> None:
    assert message in refused(**document)[field]


def test_prairielearn_and_coursera_have_times_of_their_own() -> None:
    """30 seconds and at most 600, as documented; 1,200 as Coursera's graders have."""
    found = spec(adapter="prairielearn", command="/grade/run.sh")
    assert (found.timeout_s, found.folder, found.network, found.install) == (30, "/grade", False, None)
    assert spec(adapter="prairielearn", command="x", timeout_s=600).timeout_s == 600
    inputs = [{"path": "submission/hw.py", "text": "x"}]
    assert spec(adapter="coursera", command="x", inputs=inputs).timeout_s == 1200


def test_a_family_has_the_grader_and_its_jobs_the_submissions() -> None:
    """What is missing of a family's defaults is a job's to say; what is missing then is refused."""
    town = Town(SPEC)
    defaults = {"adapter": "gradescope", "inputs": INPUTS[:1]}
    families.put(town.plane, Family(name="hw1", version=0, defaults=defaults))
    whole = families.resolve(town.plane, {"family": "hw1", "inputs": INPUTS[1:]})
    assert [one.path for one in whole.inputs] == ["source", "submission"]
    with pytest.raises(BadRequest, match="nothing at submission"):
        families.resolve(town.plane, {"family": "hw1"})


def broken(town: Town, **over: Any) -> Job:
    job = town.submit("broken 5", adapter="gradescope", **over)
    town.run(120)
    return town.job(job.id)


def test_a_broken_grader_ends_its_job_and_is_charged_to_nobody() -> None:
    """With one attempt at once; with more, once more, since nobody knows whether it is always broken - and never without end."""
    town = Town(SPEC)
    once, often = broken(town), broken(town, max_attempts=5)
    assert (once.state, once.attempt, once.charged) == (JobState.LOST, 1, 0)
    assert once.reason.startswith("its grader is broken: it wrote none; this is not the fault of the submission")
    assert once.finish is not None
    assert once.finish.cause == "grader"
    assert (often.state, often.attempt, often.charged) == (JobState.LOST, 2, 0)
    assert broken(town, max_attempts=5, retry_on=("failure",)).attempt == 1


def test_staff_is_told_of_a_broken_grader_once_an_hour_and_not_once_a_student() -> None:
    """The first at once, the next after an hour with the count of those in between; each family by itself, and each message once."""
    town = Town(SPEC)
    town.duplicate = 1.0
    for _ in range(7):
        town.submit("broken 5", adapter="gradescope", family="hw1")
    other = town.submit("broken 5", adapter="coursera", family="hw2")
    town.run(200)
    first, second = sorted(notices(town), key=lambda n: str(n["subject"]))
    assert (first["subject"], first["severity"]) == ("hw1", "error")
    assert first["reason"].startswith("the grader of family hw1 is broken: it wrote none; seen with job-")
    assert (second["subject"], second["detail"]["job"], second["detail"]["adapter"]) == ("hw2", other.id, "coursera")
    town.run(FOLD_S)
    town.submit("broken 5", adapter="gradescope", family="hw1")
    town.run(200)
    assert len(notices(town)) == 3
    last = notices(town)[-1]
    assert last["detail"]["more"] == 6
    assert "6 more jobs since" in last["reason"]
    for _ in range(13):
        town.submit("broken 5", adapter="gradescope", family="hw1")
        town.run(600)
    assert len(notices(town)) == 5, "who hands in every ten minutes does not put it off for ever"


def test_a_grader_whose_files_are_missing_never_begins() -> None:
    """The agent refuses it; said twice, and late, it ends once."""
    town = Town(SPEC)
    job = town.submit("run 500", adapter="gradescope", family="hw1")
    town.run(10)
    (machine,) = town.cloud.compute.machines.values()
    host = town.hosts()[0]
    said = {
        "kind": "refused",
        "at": town.now,
        "job": job.id,
        "attempt": 1,
        "why": "bad_grader",
        "reason": "it has no run_autograder",
    }
    body = json.dumps(
        {"v": 1, "pool": "default", "host": host.id, "boot": "b", "seq": 0, "sent_at": town.now, "pings": [said]}
    )
    for number in range(2):
        pings.receive(town.plane, [pings.Message(host.userid or "", body, f"m{number}")])
    ended = town.job(job.id)
    assert (ended.state, ended.charged, ended.attempt) == (JobState.LOST, 0, 1)
    assert ended.reason.startswith("its grader is broken: it has no run_autograder; this is not the fault")
    assert len(notices(town)) == 1
    assert machine.id
