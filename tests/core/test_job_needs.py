"""What a job asks for beside a machine: parameters, disk, an image."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import parameters as agents
from chalicelib.core import admission, job_parameters
from chalicelib.core.job_spec import Install, JobSpec
from chalicelib.core.pool import PoolSpec


def refused(spec: JobSpec, pool: PoolSpec) -> dict[str, str]:
    return {fault.field: fault.message for fault in admission.faults(spec, pool)}


@pytest.mark.parametrize(
    ("disk_mib", "slots", "fits"), [(1000, 1, True), (1001, 1, False), (2000, 2, True), (2001, 2, False)]
)
def test_a_job_may_have_the_disk_of_its_slots(disk_mib: int, slots: int, fits: bool) -> None:
    """So that all jobs that a host has slots for find their disk."""
    spec = JobSpec(command="x", timeout_s=1, disk_mib=disk_mib, slots=slots)
    assert ("disk_mib" not in refused(spec, PoolSpec(disk_mib_per_slot=1000, slots_per_host=4))) == fits


def test_an_image_is_refused_unless_the_pool_is_made_from_it() -> None:
    """To run a command on a bare host that wants a container would fail in stranger ways later."""
    spec = JobSpec(command="x", timeout_s=1, image="prairielearn/grader-python")
    assert "in no container" in refused(spec, PoolSpec())["image"]
    assert "image" not in refused(spec, PoolSpec(images="ignore"))


def test_a_pool_of_containers_runs_images_and_nothing_without_one() -> None:
    """Neither could a host of it: the job would be handed to one after the other."""
    none, one = (JobSpec(command="x", timeout_s=1, image=image) for image in (None, "prairielearn/grader-python"))
    pool = PoolSpec(sandbox="docker")
    assert "image" not in refused(one, pool)
    assert "container_image" in refused(none, pool)["image"]
    assert "image" not in refused(none, PoolSpec(sandbox="docker", container_image="debian:12"))
    assert "in no container" in refused(one, PoolSpec(sandbox="bwrap", container_image="debian:12"))["image"]


def test_what_would_be_installed_on_a_host_is_refused_where_no_command_sees_it() -> None:
    """A grader's own setup is left out instead: its image is made by it."""
    pool = PoolSpec(sandbox="docker", container_image="debian:12")
    own = JobSpec(command="x", timeout_s=1, install=Install(script="make install"))
    grader = JobSpec(command="x", timeout_s=1, adapter="gradescope", install=Install(path="source/setup.sh"))
    assert "build it into the image" in refused(own, pool)["install"]
    assert "install" not in refused(grader, pool)
    assert "install" not in refused(own, PoolSpec())


@pytest.mark.parametrize("image", ["-v", "--privileged", "a b", "a\n", "", "ä"])
def test_what_no_registry_calls_an_image_is_refused(image: str) -> None:
    """It becomes an argument of a program that root runs."""
    assert "no registry" in refused(JobSpec(command="x", timeout_s=1, image=image), PoolSpec(sandbox="docker"))["image"]


@given(st.dictionaries(st.text(min_size=1, max_size=8), st.integers(), max_size=6))
def test_parameters_that_are_accepted_are_all_told_apart_in_the_environment(parameters: dict[str, int]) -> None:
    """Agent and control plane have the same names for them, and no two the same one."""
    variables = agents.variables(parameters)
    assert set(variables) == {job_parameters.variable(name) for name in parameters}
    assert all(re.fullmatch(r"[A-Z0-9_]+", name, re.ASCII) for name in variables)
    if not list(job_parameters.faults(parameters)):
        assert len(variables) == len(parameters)


def test_parameters_are_small() -> None:
    """They are kept on the job's row and may travel in user data."""
    (fault,) = job_parameters.faults({"x": "y" * 70_000})
    assert "belongs into an input" in fault.message
