"""EC2's record of a machine: its state is written onto moto's instance and told to EventBridge, in order.

Telling has a thread of its own, because a rule's target may take its time.
"""

import contextlib
import logging
import queue
import threading
from collections.abc import Callable
from typing import Any

from localcloud.instances import events
from localcloud.instances.machine import STATE_CODES, Machine

log = logging.getLogger("localcloud.instances")

Publish = Callable[[dict[str, Any], str], None]


class Ec2Record:
    """`front.exclusive("ec2")` holds moto's state still; `publish(event, region)` hands an event to EventBridge."""

    def __init__(self, front: Any, publish: Publish) -> None:
        self._front = front
        self._publish = publish
        self._announcements: queue.SimpleQueue[tuple[dict[str, Any], str] | None] = queue.SimpleQueue()
        self._announcer = threading.Thread(target=self._announce, name="ec2-events", daemon=True)

    def start(self) -> None:
        self._announcer.start()

    def stop(self) -> None:
        """Tell what is left to be told, for at most 5 s."""
        if self._announcer.is_alive():
            self._announcements.put(None)
            self._announcer.join(5)

    def changed(self, machine: Machine, why: str = "") -> None:
        """Record and announce the machine's present state."""
        with self._front.exclusive("ec2"):
            show(machine)
            if why:
                code = why.partition(":")[0]
                machine.instance.state_reason.code, machine.instance.state_reason.message = code, why
            if machine.state == "terminated" and not getattr(machine.instance, "torn_down", False):
                _tear_down(machine)
        self.announce_state(machine)

    def announce_state(self, machine: Machine) -> None:
        """Tell the machine's state by EventBridge, after all that was told before."""
        log.info("instance state instance=%s state=%s", machine.id, machine.state)
        self.announce(events.state_change(machine.id, machine.region, machine.state), machine)

    def announce(self, event: dict[str, Any], machine: Machine) -> None:
        """Tell an event in the machine's region, after all that was told before."""
        self._announcements.put((event, machine.region))

    def forget(self, machine: Machine) -> None:
        """EC2 lists it no longer."""
        with self._front.exclusive("ec2"):
            reservations = machine.instance.ec2_backend.reservations
            for reservation in [each for each in reservations.values() if machine.instance in each.instances]:
                reservation.instances.remove(machine.instance)
                if not reservation.instances:
                    del reservations[reservation.id]

    def _announce(self) -> None:
        while (announcement := self._announcements.get()) is not None:
            try:
                self._publish(*announcement)
            except Exception:
                log.exception("an EC2 event was not delivered")


def show(machine: Machine) -> None:
    """Write our state onto moto's instance."""
    machine.instance._state.name, machine.instance._state.code = machine.state, STATE_CODES[machine.state]


def _tear_down(machine: Machine) -> None:
    """Let moto free volumes and network interfaces, keeping the reason that we gave."""
    machine.instance.torn_down = True
    reason = (machine.instance.state_reason.code, machine.instance.state_reason.message)
    with contextlib.suppress(Exception):  # moto has its own opinion on instances that its API has terminated already
        machine.instance.terminate()
    if reason[0]:
        machine.instance.state_reason.code, machine.instance.state_reason.message = reason
    show(machine)
