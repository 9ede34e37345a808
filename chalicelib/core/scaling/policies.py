"""All scaling policies by name: pure functions from a view of the pool and their parameters to a target.

A policy only says how many hosts it wants; `target.wanted` adds what people booked and keeps minimum, maximum and budget.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from chalicelib.core.plan import Target
from chalicelib.core.scaling.grader_load import GraderLoad, grader_load
from chalicelib.core.scaling.headroom import Headroom, headroom
from chalicelib.core.scaling.manual import Manual, manual
from chalicelib.core.scaling.one_per_job import OnePerJob, one_per_job
from chalicelib.core.scaling.slo import Slo, slo
from chalicelib.core.scaling.square_root import SquareRoot, square_root
from chalicelib.core.scaling.view import PoolView
from chalicelib.core.scaling.waiting_time import WaitingTime, conflicts, waiting_time

DEFAULT = "slo"


def _none(parameters: Any) -> Iterator[tuple[str, str]]:
    return iter(())


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """`decide(view, parameters)`; `source`: where its formula comes from; `choose`: when an operator would; `conflicts(parameters)`:
    fields that contradict each other, with a sentence."""

    name: str
    parameters: type[Any]
    decide: Callable[[PoolView, Any], Target]
    source: str
    choose: str
    conflicts: Callable[[Any], Iterator[tuple[str, str]]] = _none


POLICIES: dict[str, Policy] = {
    policy.name: policy
    for policy in (
        Policy(
            name="slo",
            parameters=Slo,
            decide=slo,
            source="ours, after replaying real traces",
            choose="Always, unless you have a reason for another: hosts only where a job would otherwise wait longer than you allow.",
        ),
        Policy(
            name="waiting_time",
            parameters=WaitingTime,
            decide=waiting_time,
            conflicts=conflicts,
            source="Coursera's grading cluster",
            choose="When the load changes slowly and a wait of minutes is fine: few launches, never a jump.",
        ),
        Policy(
            name="square_root",
            parameters=SquareRoot,
            decide=square_root,
            source="PrairieLearn's notes on scaling; square-root staffing",
            choose="When jobs come independently of each other and should start at once: spare room grows slower than the load.",
        ),
        Policy(
            name="headroom",
            parameters=Headroom,
            decide=headroom,
            source="PrairieLearn's workspace hosts, as shipped",
            choose="When jobs are long and interactive, and a fixed share of spare room is easiest to explain.",
        ),
        Policy(
            name="grader_load",
            parameters=GraderLoad,
            decide=grader_load,
            source="PrairieLearn's external graders",
            choose="When surges come in waves and hosts should stay between them. It costs the most of all.",
        ),
        Policy(
            name="one_per_job",
            parameters=OnePerJob,
            decide=one_per_job,
            source="aws-runner; CBAS",
            choose="When every job should have a machine for itself.",
        ),
        Policy(
            name="manual",
            parameters=Manual,
            decide=manual,
            source="PrairieLearn's switches",
            choose="When you know better: a maintenance window, a benchmark, a fixed fleet.",
        ),
    )
}
