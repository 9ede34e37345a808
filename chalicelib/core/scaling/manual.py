"""A number that an operator sets, like PrairieLearn's switches."""

from __future__ import annotations

from dataclasses import dataclass, field

from chalicelib.core.plan import Target
from chalicelib.core.scaling.bounds import bounds
from chalicelib.core.scaling.view import PoolView
from chalicelib.core.staffing import some


@dataclass(frozen=True, slots=True, kw_only=True)
class Manual:
    hosts: int = field(default=1, metadata=bounds(0, 10_000, "hosts", "as many hosts are wanted, whatever the load"))


def manual(view: PoolView, p: Manual) -> Target:
    """`hosts` hosts, whatever the load."""
    return Target(hosts=p.hosts, why=f"the operator set {some(p.hosts, 'host')}")
