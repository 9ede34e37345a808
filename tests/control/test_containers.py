"""A pool of containers: what its hosts are told, and what is kept of what they tell."""

from __future__ import annotations

import json
from typing import Any

import pytest
from town import Agent, Town

from agent.manifest import read
from chalicelib.core.job import JobState
from chalicelib.core.pool import PoolSpec
from chalicelib.errors import BadRequest

DIGEST = "course/grader@sha256:" + "a" * 64


class ContainerTown(Town):
    """A town whose agents tell what their containers run in."""

    def _say(self, agent: Agent, ping: dict[str, Any]) -> None:
        told = {"image_digest": DIGEST} if ping["kind"] in ("start", "finish") else {}
        super()._say(agent, {**ping, **told})


def test_a_job_is_run_in_its_own_image_or_its_pools_and_says_in_which() -> None:
    """By its digest: a tag may mean something else by the time somebody asks."""
    town = ContainerTown(PoolSpec(sandbox="docker", container_image="debian:12", container_user="image"))
    named, plain = town.submit("run 5", image="course/grader:fall"), town.submit("run 5")
    town.run(1)
    (agent,) = town.agents.values()
    told, problems = read(json.dumps(agent.manifest), 0)
    assert not problems
    assert (told.settings.sandbox, told.settings.container_image) == ("docker", "debian:12")
    assert told.settings.container_user == "image"
    assert {one.job: one.image for one in told.assignments} == {named.id: "course/grader:fall", plain.id: ""}
    town.run_until_quiet()
    job = town.job(named.id)
    assert job.state is JobState.SUCCEEDED
    assert job.finish is not None
    assert job.finish.image_digest == DIGEST
    story = [line.reason for line in town.stores.story.of(named.id)]
    assert any(reason.endswith(f"in {DIGEST}") for reason in story), story


def test_a_pool_without_an_image_takes_no_job_that_names_none() -> None:
    town = Town(PoolSpec(sandbox="docker"))
    with pytest.raises(BadRequest, match="container_image"):
        town.submit("run 5")
