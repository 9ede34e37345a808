"""Run Command's side of the machines: which are registered, what was sent to them, what came of it.

A command is delivered when its machine is on line; one for a machine that does not answer (it reboots, or is lost) waits, and
times out as undelivered, as it does in AWS: a sender that wants to know must look.
"""

import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import Any, Protocol

from localcloud.iam import policies_of
from localcloud.identity import ACCOUNT_ID
from localcloud.instances.machine import Machine
from localcloud.instances.metadata import role_of_profile
from localcloud.policy import Decision, Request, evaluate

DELIVERY_S = 3600.0
EXECUTION_S = 3600.0
COMMANDS_KEPT = 2_000


class Vms(Protocol):
    """What of the VM host is needed here."""

    def do(self, work: Any) -> None: ...
    def later(self, delay_s: float, work: Any) -> None: ...
    def send(self, channel: Any, message: dict[str, Any]) -> bool: ...


@dataclass
class Invocation:
    """One command on one machine. `status` and `details` are SSM's words; times in epoch seconds."""

    id: str
    command: "Command"
    instance_id: str
    status: str = "Pending"
    details: str = "Pending"
    exit_code: int = -1
    output: str = ""
    errors: str = ""
    started_at: float | None = None
    ended_at: float | None = None

    @property
    def final(self) -> bool:
        return self.status not in ("Pending", "InProgress")


@dataclass
class Command:
    """One SendCommand."""

    region: str
    document: str
    comment: str
    parameters: dict[str, list[str]]
    script: str
    folder: str
    execution_s: float
    delivery_s: float
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    requested_at: float = field(default_factory=time.time)
    invocations: list[Invocation] = field(default_factory=list)

    @property
    def status(self) -> str:
        """The worst of the ended, once all have ended."""
        states = {invocation.status for invocation in self.invocations}
        if states - {"Pending"} and not all(invocation.final for invocation in self.invocations):
            return "InProgress"
        for state in ("Pending", "TimedOut", "Failed", "Cancelled"):
            if state in states:
                return state
        return "Success"


class RunCommand:
    """All commands. `machines` is the fleet's own table."""

    def __init__(self, machines: dict[str, Machine], vms: Vms) -> None:
        self._machines = machines
        self._vms = vms
        self._commands: dict[str, Command] = {}
        self._running: dict[str, Invocation] = {}
        self._waiting: dict[str, list[Invocation]] = {}
        self._lock = threading.Lock()

    def registered(self, region: str) -> list[Machine]:
        """The machines that Run Command knows."""
        return [m for m in list(self._machines.values()) if m.registered_at is not None and m.region == region]

    def command(self, command_id: str) -> Command | None:
        return self._commands.get(command_id)

    def commands(self, region: str) -> list[Command]:
        """Newest first."""
        return [command for command in reversed(list(self._commands.values())) if command.region == region]

    def start(self, command: Command, instance_ids: list[str]) -> None:
        """Send `command` to registered machines."""
        command.invocations = [Invocation(f"{command.id}/{each}", command, each) for each in instance_ids]
        with self._lock:
            self._commands[command.id] = command
            for old in list(self._commands)[:-COMMANDS_KEPT]:
                del self._commands[old]
        self._vms.do(lambda: self._deliver_all(command.invocations))

    # In the fleet's thread

    def on_line(self, machine: Machine) -> None:
        """A machine is reachable (again): it gets what waited for it."""
        for invocation in self._waiting.pop(machine.id, []):
            if not invocation.final:
                self._deliver(invocation)

    def _deliver_all(self, invocations: list[Invocation]) -> None:
        for invocation in invocations:
            self._deliver(invocation)

    def _deliver(self, invocation: Invocation) -> None:
        machine, command = self._machines[invocation.instance_id], invocation.command
        message = {
            "do": "run",
            "id": invocation.id,
            "script": command.script,
            "folder": command.folder,
            "timeout_s": command.execution_s,
        }
        if machine.channel is None or machine.restarting or not self._vms.send(machine.channel, message):
            self._waiting.setdefault(machine.id, []).append(invocation)
            self._vms.later(command.delivery_s, lambda: self._give_up(invocation, "Delivery Timed Out", "Pending"))
            return
        invocation.status = invocation.details = "InProgress"
        invocation.started_at = time.time()
        self._running[invocation.id] = invocation

    def _give_up(self, invocation: Invocation, details: str, while_it_is: str) -> None:
        if invocation.status == while_it_is:
            self._running.pop(invocation.id, None)
            invocation.status, invocation.details = "TimedOut", details
            invocation.ended_at = time.time()

    def done(self, message: dict[str, Any]) -> None:
        """A machine's word that a script has ended."""
        invocation = self._running.pop(message["id"], None)
        if invocation is None:
            return
        invocation.exit_code, invocation.ended_at = message["exit"], time.time()
        invocation.output, invocation.errors = message["out"], message["err"]
        if message["timed_out"]:
            invocation.status, invocation.details = "TimedOut", "Execution Timed Out"
        else:
            invocation.status = invocation.details = "Success" if message["exit"] == 0 else "Failed"

    def machine_ended(self, machine: Machine, silently: bool) -> None:
        """What ran on it has failed; when the machine went `silently`, nobody knows until the time is up."""
        for invocation in [each for each in self._running.values() if each.instance_id == machine.id]:
            if silently:
                left_s = invocation.command.execution_s - (time.time() - (invocation.started_at or 0))
                late = invocation
                self._vms.later(left_s, lambda late=late: self._give_up(late, "Execution Timed Out", "InProgress"))
            else:
                self._running.pop(invocation.id)
                invocation.status = invocation.details = "Failed"
                invocation.ended_at = time.time()


def may_register(machine: Machine) -> bool:
    """A machine's own SSM agent registers it, with the machine's role; so a role that lacks the right makes it unreachable."""
    role = role_of_profile(machine.profile_arn) if machine.profile_arn else None
    arn = f"arn:aws:ec2:{machine.region}:{ACCOUNT_ID}:instance/{machine.id}"
    context = {"ec2:sourceinstancearn": [arn], "aws:requestedregion": [machine.region]}
    request = Request("ssm:UpdateInstanceInformation", arn, context)
    return role is not None and evaluate(policies_of(role), request) is Decision.ALLOW
