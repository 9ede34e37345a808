"""Jobs that take objects of other buckets: refused at submit where nobody allowed it, signed at hand-over."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from town import OFFERING, Town

from chalicelib.control.submit import submit
from chalicelib.core.job import JobState
from chalicelib.core.job_spec import GitSource, Input, JobSpec
from chalicelib.core.pool import PoolSpec
from chalicelib.errors import BadRequest


def a_town(*places: str) -> Town:
    town = Town(PoolSpec(offerings=(OFFERING,)))
    town.plane = replace(town.plane, settings=replace(town.plane.settings, s3_inputs=places))
    return town


def taking(address: str) -> JobSpec:
    return JobSpec(command="run 1", timeout_s=60, inputs=(Input(path="material", s3=address, unpack=True),))


def test_an_object_that_nobody_allowed_is_refused_at_submit() -> None:
    """The functions' role may read more than one owner's objects: what is not refused here would be signed."""
    town = a_town("us-east-1:courses/{owner}/")
    with pytest.raises(BadRequest) as refusal:
        submit(town.plane, taking("s3://courses/bob/x.tar.gz"), "alice")
    assert refusal.value.faults[0].field == "inputs[0].s3"
    assert "jobs of alice may read" in refusal.value.faults[0].message
    assert submit(town.plane, taking("s3://courses/alice/x.tar.gz"), "alice").created


def test_a_signed_address_comes_by_the_inbox_and_never_by_user_data() -> None:
    """User data is readable by everything on the machine."""
    town = a_town("eu-west-1:courses/")
    job = submit(town.plane, taking("s3://courses/a/x.tar.gz"), "alice").job
    town.run(25)
    (agent,) = town.agents.values()
    assert "elsewhere" not in json.dumps(agent.manifest)
    assert agent.entry["inbox"]
    (given,) = json.loads(town.cloud.blobs.objects[f"inbox/{agent.userid}/inbox.json"])["assignments"]
    assert given["inputs"] == [{"path": "material", "s3": "s3://courses/a/x.tar.gz", "unpack": True}]
    assert "elsewhere/courses/a/x.tar.gz" in given["urls"]["s3://courses/a/x.tar.gz"]
    town.run(60)
    assert town.job(job.id).state is JobState.SUCCEEDED


def test_a_repository_is_named_to_the_host_and_its_token_comes_by_the_inbox() -> None:
    """The host clones it: a function would have to carry it."""
    town = a_town()
    town.cloud.secrets.values["secretsmanager:/spillway/town/alice/git"] = "a-token-8812"
    source = GitSource(url="https://git.example.org/course.git", branch="main", token="secretsmanager:git")
    spec = JobSpec(command="run 9", timeout_s=60, inputs=(Input(path="code", git=source),))
    job = submit(town.plane, spec, "alice").job
    town.run(10)  # it boots
    (agent,) = town.agents.values()
    (given,) = json.loads(town.cloud.blobs.objects[f"inbox/{agent.userid}/inbox.json"])["assignments"]
    named = {"url": "https://git.example.org/course.git", "branch": "main", "token": "secretsmanager:git"}
    assert given["inputs"] == [{"path": "code", "git": named}]
    assert given["values"] == {"secretsmanager:git": "a-token-8812"}
    assert "a-token-8812" not in json.dumps(agent.manifest)
    town.run(30)
    assert town.job(job.id).state is JobState.SUCCEEDED


@pytest.mark.parametrize("url", ["http://git.example.org/x", "http://127.0.0.1.example.org/x"])
def test_a_token_never_travels_in_the_open(url: str) -> None:
    town = a_town()
    spec = JobSpec(command="x", timeout_s=60, inputs=(Input(path="x", git=GitSource(url=url, token="ssm:t")),))
    with pytest.raises(BadRequest, match="is not https"):
        submit(town.plane, spec, "alice")


def test_a_place_that_is_taken_back_ends_the_jobs_that_wait_for_it_with_a_sentence() -> None:
    """No host could begin them, and nobody would ever say so."""
    town = a_town("eu-west-1:courses/")
    job = submit(town.plane, taking("s3://courses/a/x.tar.gz"), "alice").job
    town.plane = replace(town.plane, settings=replace(town.plane.settings, s3_inputs=()))
    town.run(600)
    ended = town.job(job.id)
    assert ended.state is JobState.FAILED
    assert ended.reason == "its input s3://courses/a/x.tar.gz is in no place that jobs of alice may read any more"
    assert ended.charged == 0
    assert not town.began
