"""The EC2 operations on machines that run: moto would only change its record."""

import base64
import secrets
import time
from typing import Any, Protocol

from moto.backends import get_backend

from localcloud.calls import AwsCall, AwsReply, indexed, refusal
from localcloud.gaps.ec2_run_instances import Forward
from localcloud.identity import ACCOUNT_ID
from localcloud.instances.machine import STATE_CODES, TRANSITIONS, Machine

CONSOLE_KEPT_BYTES = 65_536  # what EC2 keeps of a console †
XMLNS = "http://ec2.amazonaws.com/doc/2016-11-15/"


class Machines(Protocol):
    """What of the fleet is needed here."""

    def machine(self, instance_id: str) -> Machine: ...
    def terminate(self, instance_id: str) -> None: ...
    def stop_machine(self, instance_id: str) -> None: ...
    def start_machine(self, instance_id: str) -> None: ...
    def reboot(self, instance_id: str) -> None: ...


class Ec2Actions:
    """Interceptors for TerminateInstances, StopInstances, StartInstances, RebootInstances, GetConsoleOutput. Instances that
    are not known, or protected, are left to moto, which says what EC2 says."""

    def __init__(self, front: Any, fleet: Machines) -> None:
        self._fleet = fleet
        for action, answer in (
            ("TerminateInstances", self._terminate),
            ("StopInstances", self._stop),
            ("StartInstances", self._start),
            ("RebootInstances", self._reboot),
            ("GetConsoleOutput", self._console),
        ):
            front.intercept("ec2", action, answer)

    def _machines(self, call: AwsCall) -> list[Machine] | None:
        """The machines that a call names, or None when moto should answer."""
        known = get_backend("ec2")[ACCOUNT_ID][call.region]
        ids = indexed(call.params, "InstanceId")
        try:
            machines = [self._fleet.machine(each) for each in dict.fromkeys(ids)]
        except KeyError:
            return None
        here = all(machine.region == call.region and known.get_instance_by_id(machine.id) for machine in machines)
        return machines if machines and here and call.params.get("DryRun") != "true" else None

    def _terminate(self, call: AwsCall, forward: Forward) -> AwsReply:
        machines = self._machines(call)
        if machines is None or any(machine.instance.disable_api_termination for machine in machines):
            return forward(call)
        before = {machine.id: machine.state for machine in machines}
        for machine in machines:
            self._fleet.terminate(machine.id)
        return _changes("TerminateInstances", before, "terminate")

    def _stop(self, call: AwsCall, forward: Forward) -> AwsReply:
        machines = self._machines(call)
        if machines is None:
            return forward(call)
        for machine in machines:
            if machine.state not in ("pending", "running", "stopping", "stopped"):
                return _wrong_state(call, machine, "stopped")
            if machine.instance.lifecycle == "spot":
                text = f"You can't stop the Spot Instance '{machine.id}' because it is associated with a one-time Spot Instance request."
                return refusal(call, "UnsupportedOperation", text, 400)
        before = {machine.id: machine.state for machine in machines}
        for machine in machines:
            self._fleet.stop_machine(machine.id)
        return _changes("StopInstances", before, "stop")

    def _start(self, call: AwsCall, forward: Forward) -> AwsReply:
        machines = self._machines(call)
        if machines is None:
            return forward(call)
        for machine in machines:
            if machine.state not in ("stopped", "running", "pending"):
                return _wrong_state(call, machine, "started")
        before = {machine.id: machine.state for machine in machines}
        for machine in machines:
            self._fleet.start_machine(machine.id)
        return _changes("StartInstances", before, "start")

    def _reboot(self, call: AwsCall, forward: Forward) -> AwsReply:
        machines = self._machines(call)
        if machines is None:
            return forward(call)
        for machine in machines:
            if machine.state in ("terminated", "shutting-down"):
                return _wrong_state(call, machine, "rebooted")
        for machine in machines:
            self._fleet.reboot(machine.id)
        return _xml("RebootInstances", "<return>true</return>")

    def _console(self, call: AwsCall, forward: Forward) -> AwsReply:
        try:
            machine = self._fleet.machine(call.params.get("InstanceId", ""))
        except KeyError:
            text = f"The instance ID '{call.params.get('InstanceId', '')}' does not exist"
            return refusal(call, "InvalidInstanceID.NotFound", text, 400)
        text = base64.b64encode(console_output(machine)).decode()
        now = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
        return _xml(
            "GetConsoleOutput",
            f"<instanceId>{machine.id}</instanceId><timestamp>{now}</timestamp><output>{text}</output>",
        )


def console_output(machine: Machine) -> bytes:
    """The end of what the machine wrote to its console."""
    try:
        with machine.console.open("rb") as file:
            file.seek(max(0, machine.console.stat().st_size - CONSOLE_KEPT_BYTES))
            return file.read()
    except FileNotFoundError:
        return b""


def _wrong_state(call: AwsCall, machine: Machine, wish: str) -> AwsReply:
    text = f"The instance '{machine.id}' is not in a state from which it can be {wish}."
    return refusal(call, "IncorrectInstanceState", text, 400)


def _changes(action: str, before: dict[str, str], event: str) -> AwsReply:
    """What the call has led to: a machine may be further already, as a small one is down in a moment."""
    items = "".join(
        f"<item><instanceId>{instance_id}</instanceId>{_state('currentState', TRANSITIONS[state].get(event, state))}"
        f"{_state('previousState', state)}</item>"
        for instance_id, state in before.items()
    )
    return _xml(action, f"<instancesSet>{items}</instancesSet>")


def _state(name: str, state: str) -> str:
    return f"<{name}><code>{STATE_CODES[state]}</code><name>{state}</name></{name}>"


def _xml(action: str, inner: str) -> AwsReply:
    request_id = secrets.token_hex(16)
    body = f'<{action}Response xmlns="{XMLNS}"><requestId>{request_id}</requestId>{inner}</{action}Response>'
    return AwsReply(200, {"Content-Type": "text/xml;charset=UTF-8", "x-amzn-RequestId": request_id}, body.encode())
