"""Which S3 objects a stage's jobs may take: what `bootstrap --s3-input` allowed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from chalicelib.core.job import Job
from chalicelib.core.job_spec import JobSpec
from chalicelib.core.prairielearn import LISTENER
from chalicelib.core.s3_places import Place, find, place
from chalicelib.errors import Fault
from chalicelib.wiring import Plane


def place_of(plane: Plane, address: str, owner: str, origin: Mapping[str, Any] | None = None) -> Place | None:
    """The place that lets this owner have `s3://bucket/key`; None: it may not be read.

    A grading installation's bucket is for the jobs that its own messages made (`origin`): their submitter chose none of it.
    """
    places = plane.settings.s3_inputs
    if origin and origin.get("answer") == LISTENER and plane.settings.grading_bucket:
        places = (plane.settings.grading_bucket, *places)
    return find(address, owner, _places(places))


def faults(plane: Plane, spec: JobSpec, owner: str, origin: Mapping[str, Any] | None = None) -> Iterator[Fault]:
    """Every input that is in no allowed place."""
    for index, one in enumerate(spec.inputs):
        if one.s3 is not None and place_of(plane, one.s3, owner, origin) is None:
            yield Fault(
                f"inputs[{index}].s3",
                f"{one.s3} is in no place that jobs of {owner} may read; an operator allows one by "
                f"`spillway bootstrap --stage {plane.settings.stage} --s3-input s3://bucket/prefix/`",
            )


def lacks(plane: Plane, job: Job) -> str:
    """The sentence of a job that was accepted, and since then may not read one of its inputs any more; "" of all others."""
    for one in job.spec.inputs:
        if one.s3 is not None and place_of(plane, one.s3, job.owner, job.origin) is None:
            return f"its input {one.s3} is in no place that jobs of {job.owner} may read any more"
    return ""


@cache
def _places(texts: tuple[str, ...]) -> tuple[Place, ...]:
    return tuple(place(text) for text in texts)
