"""EC2's lists are eventually consistent: for a while a new instance is not in them, and one that ends is in them as it was.

The condition `slow_listing`: while DescribeInstances or DescribeInstanceStatus looks, moto's records are put back to what EC2 would
still show, and right afterwards to the truth. Nobody else sees it, because moto's EC2 is held still meanwhile.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar

from moto.backends import get_backend

from localcloud.calls import AwsCall, AwsReply
from localcloud.identity import ACCOUNT_ID
from localcloud.instances.machine import STATE_CODES, Machine


class SlowListing:
    """`launched_s`: for so long a launched instance is not listed; `ended_s`: for so long one that ends is listed as it was."""

    kinds: ClassVar[tuple[str, ...]] = ("slow_listing",)

    def __init__(self, front: Any, machines: Callable[[], Iterable[Machine]]) -> None:
        self._front, self._machines = front, machines
        self._launched_s = self._ended_s = 0.0
        for action in ("DescribeInstances", "DescribeInstanceStatus"):
            front.intercept("ec2", action, self)

    def set(self, kind: str, fields: dict[str, Any]) -> None:
        """Be slow from now on. Raises ValueError."""
        for name, value in fields.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
                raise ValueError(f"{name} must be a number of seconds from 0, not {value!r}.")
        self._launched_s, self._ended_s = float(fields["launched_s"]), float(fields["ended_s"])

    def clear(self) -> None:
        self._launched_s = self._ended_s = 0.0

    def listed(self) -> list[dict[str, Any]]:
        """The condition, when it holds."""
        if not self._launched_s and not self._ended_s:
            return []
        return [{"kind": "slow_listing", "launched_s": self._launched_s, "ended_s": self._ended_s}]

    def __call__(self, call: AwsCall, forward: Callable[[AwsCall], AwsReply]) -> AwsReply:
        if not self._launched_s and not self._ended_s:
            return forward(call)
        with self._front.exclusive("ec2"), self._as_it_was(call.region, time.time()):
            return forward(call)

    @contextlib.contextmanager
    def _as_it_was(self, region: str, now: float) -> Iterator[None]:
        here = [m for m in self._machines() if m.region == region]
        unseen = {m.id for m in here if now - m.launched_at < self._launched_s}
        ended = [m for m in here if m.ended_at is not None and now - m.ended_at < self._ended_s]
        reservations = get_backend("ec2")[ACCOUNT_ID][region].reservations
        before = dict(reservations)
        all_of = {key: list(each.instances) for key, each in before.items()}
        try:
            for key, instances in all_of.items():
                seen = [each for each in instances if each.id not in unseen]
                reservations[key].instances = seen
                if not seen:
                    del reservations[key]
            for machine in ended:
                _show(machine, machine.ended_from)
            yield
        finally:
            for machine in ended:
                _show_truth(machine)
            reservations.clear()
            reservations.update(before)
            for key, instances in all_of.items():
                reservations[key].instances = instances


def _show_truth(machine: Machine) -> None:
    """Its state, also where the machine goes on to another one at this moment."""
    while True:
        state = machine.state
        _show(machine, state)
        if machine.state == state:
            return


def _show(machine: Machine, state: str) -> None:
    machine.instance._state.name, machine.instance._state.code = state, STATE_CODES[state]
