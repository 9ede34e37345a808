"""EC2's machines: boots what moto records as launched, and makes moto's record follow what the machines do.

Theory of operation. `RunInstances` (see `gaps/ec2_run_instances.py`) leaves instances in `pending` and hands them over. Each gets a
metadata port, a folder, and after `boot_s` a first process forked by the hypervisor. From then on its state changes by events
only (`machine.TRANSITIONS`): the machine says it is up, somebody calls TerminateInstances, its first process ends. All of
this happens in one thread (`vm_host.py`); calls from elsewhere hand it work. Every state change goes to EC2's record
(`ec2_record.py`). A machine that does not boot "normally" has no process, port or folder: it is only recorded.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from localcloud import disk
from localcloud.gaps.ec2_run_instances import RunInstances
from localcloud.gaps.ssm_send_command import SsmActions
from localcloud.identity import Identities
from localcloud.instances import boot, events
from localcloud.instances.ec2_actions import Ec2Actions
from localcloud.instances.ec2_record import Ec2Record, Publish
from localcloud.instances.machine import Boots, Machine
from localcloud.instances.metadata import MetadataService
from localcloud.instances.run_command import RunCommand, may_register
from localcloud.instances.vm_host import VmHost

log = logging.getLogger("localcloud.instances")


class Front(Protocol):
    """What of the front is needed here."""

    url: str

    def intercept(self, service: str, action: str, interceptor: Callable[..., Any]) -> None: ...
    def observe(self, service: str, action: str, observer: Callable[..., Any]) -> None: ...
    def exclusive(self, service: str) -> Any: ...


@dataclass(frozen=True)
class FleetOptions:
    """`boots`: what becomes of machines ("silent": they are only recorded). `isolation`: "namespaces", "none", or "auto" (namespaces
    where the host lets us). `register_s`: from a machine's start to its registration with Run Command. `lost_noticed_s`: until EC2
    notices that a machine is lost. `forget_s`: until EC2 no longer lists what is terminated."""

    isolation: str = "auto"
    boots: Boots = "normally"
    boot_s: float = 0.2
    register_s: float = 0.0
    shutdown_grace_s: float = 5.0
    lost_noticed_s: float = 60.0
    forget_s: float = 3600.0
    credentials_s: float = 6 * 3600.0


class Fleet:
    """All machines of the embedded cloud. `publish(event, region)` hands an event to EventBridge."""

    def __init__(
        self,
        front: Front,
        identities: Identities,
        state_dir: Path,
        publish: Publish,
        options: FleetOptions | None = None,
    ) -> None:
        self.options = options or FleetOptions()
        self._front = front
        self._folder = state_dir / "instances"
        self._machines: dict[str, Machine] = {}
        self._record = Ec2Record(front, publish)
        self._changed = threading.Condition()
        self._stopping = False
        self._vms = VmHost(self._reported)
        self.metadata = MetadataService(identities, self.options.credentials_s)
        self.commands = RunCommand(self._machines, self._vms)
        self.boots: Callable[[Machine], Boots] = lambda _: self.options.boots
        self.launches = RunInstances(front, self._launched)
        Ec2Actions(front, self)
        SsmActions(front, self.commands)

    @property
    def isolation(self) -> str:
        """ "namespaces" or "none", after start."""
        return self._vms.isolation

    @property
    def isolation_lack(self) -> str:
        """Why machines have no namespaces; "" when they have them."""
        return self._vms.why if self._vms.isolation == "none" else ""

    def start(self) -> None:
        """Start the hypervisor, which makes the machines' image. Raises HypervisorFailed."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._image = self._folder / "image"
        self._vms.start(self._image, self.options.isolation, self._folder / "hypervisor.log")
        if self._vms.isolation == "none":
            log.warning("machines run without namespaces why=%s", self._vms.why)
        self.metadata.start()
        self._record.start()

    def stop(self) -> None:
        """End every machine at once; no process, mount, control group or port is left."""
        self._stopping = True
        self._vms.stop()
        self.metadata.stop()
        self._record.stop()
        for machine in self._machines.values():
            disk.remove(machine.disk)
        disk.remove(self._folder / "image")

    def alive(self) -> list[str]:
        """The ids of machines that EC2 has neither stopped nor terminated."""
        return [m.id for m in list(self._machines.values()) if m.state not in ("terminated", "stopped")]

    def machines(self) -> list[Machine]:
        """All that EC2 lists."""
        return list(self._machines.values())

    def machine(self, instance_id: str) -> Machine:
        """The machine of an instance. Raises KeyError."""
        return self._machines[instance_id]

    def wait(self, met: Callable[[], bool], timeout_s: float = 30.0) -> bool:
        """Wait until `met()` holds; it is asked again after everything that happens to a machine."""
        with self._changed:
            return self._changed.wait_for(met, timeout_s)

    # What others ask for

    def terminate(self, instance_id: str, why: str = "", grace_s: float | None = None) -> None:
        """Shut a machine down for good, as TerminateInstances does."""
        self._vms.do_now(lambda: self._end(self._machines[instance_id], "terminate", why, grace_s))

    def stop_machine(self, instance_id: str) -> None:
        """StopInstances: its disk stays."""
        self._vms.do_now(lambda: self._end(self._machines[instance_id], "stop", ""))

    def start_machine(self, instance_id: str) -> None:
        """StartInstances: boot what was stopped; its user data is not run again."""
        self._vms.do_now(lambda: self._start_again(self._machines[instance_id]))

    def reboot(self, instance_id: str) -> None:
        """RebootInstances: its processes end, its enabled services start again; EC2's state stays `running`."""
        self._vms.do(lambda: self._tell(self._machines[instance_id], {"do": "end", "reboot": True}))

    def interrupt(self, instance_id: str, in_s: float = 120.0) -> None:
        """Spot interruption: warning by event and metadata now, termination after `in_s`. Raises ValueError for on-demand machines."""
        machine = self._machines[instance_id]
        if machine.instance.lifecycle != "spot":
            raise ValueError(f"{instance_id} is not a spot instance: EC2 never interrupts it.")
        machine.interrupt_at = time.time() + in_s
        self._record.announce(events.spot_interruption(machine.id, machine.region), machine)
        why = "Server.SpotInstanceTermination: Spot instance termination"
        self._vms.do(lambda: self._vms.later(in_s, lambda: self._end(machine, "terminate", why)))

    def recommend_rebalance(self, instance_id: str) -> None:
        """EC2's early word that a spot instance is at risk."""
        machine = self._machines[instance_id]
        machine.rebalance_at = time.time()
        self._record.announce(events.rebalance(machine.id, machine.region), machine)

    def lose(self, instance_id: str) -> None:
        """The machine dies without a word; EC2 notices after `lost_noticed_s`."""
        machine = self._machines[instance_id]
        machine.lost = True
        if machine.boots == "normally":
            self._vms.do(lambda: self._vms.kill(machine.id))
        else:
            self._vms.do(lambda: self._exited(machine, "crash"))

    # Launching

    def _launched(self, instances: list[Any], region: str) -> None:
        """New instances, in the caller's thread; ports are open before the caller is answered."""
        machines = []
        for instance in instances:
            machine = Machine(instance.id, region, instance, self._folder / instance.id, boot.user_data(instance))
            machine.boots = self.boots(machine)
            if machine.boots == "normally":
                machine.metadata_port = self.metadata.open(machine)
            machines.append(machine)
            self._machines[machine.id] = machine
        self._vms.do(lambda: self._pending(machines))

    def _pending(self, machines: list[Machine]) -> None:
        for machine in machines:
            self._record.announce_state(machine)
        self._vms.later(self.options.boot_s, lambda: self._boot_all(machines))

    def _boot_all(self, machines: list[Machine]) -> None:
        for machine in machines:
            self._boot(machine)

    def _boot(self, machine: Machine) -> None:
        if machine.state != "pending" and not machine.restarting:
            return  # terminated before it booted
        machine.restarting = False
        if machine.boots == "silent":
            self._change(machine, "up")
            return
        if machine.boots == "terminated":
            self._end(machine, "terminate", "Server.InternalError: Internal error on launch")
            return
        isolated = self._vms.isolation == "namespaces"
        boot.write_disk(machine, self.isolation_lack)
        machine.channel = self._vms.boot(
            boot.order(machine, self._image, isolated, self._front.url, self.options.shutdown_grace_s),
            lambda message: self._heard(machine, message),
        )
        machine.booted = True

    # What machines and the hypervisor say

    def _heard(self, machine: Machine, message: dict[str, Any]) -> None:
        kind = message["is"]
        if kind == "up":
            self._change(machine, "up")
            self._vms.later(self.options.register_s, lambda: self._register(machine))
        elif kind == "user-data":
            machine.user_data_exit = message["exit"]
            log.info("user data ended instance=%s exit=%d", machine.id, message["exit"])
        elif kind == "ending":
            self._ending(machine, message["reboot"])
        elif kind == "done":
            self.commands.done(message)
        self._notify()

    def _register(self, machine: Machine) -> None:
        if machine.state != "running" or machine.channel is None:
            return
        if not may_register(machine):
            log.warning("not registered with Run Command, its role does not allow it instance=%s", machine.id)
        else:
            machine.registered_at = machine.registered_at or time.time()
            self.commands.on_line(machine)
            self._notify()

    def _ending(self, machine: Machine, reboot: bool) -> None:
        """The machine has begun to shut down: of itself, or because it was told to."""
        if reboot:
            machine.restarting = True
        elif machine.instance.instance_initiated_shutdown_behavior == "terminate":
            self._change(machine, "terminate", "Client.InstanceInitiatedShutdown: Instance initiated shutdown")
        else:
            self._change(machine, "stop", "Client.InstanceInitiatedShutdown: Instance initiated shutdown")

    def _reported(self, report: dict[str, Any]) -> None:
        if report["is"] == "exited" and report["id"] in self._machines:
            self._exited(self._machines[report["id"]], report["how"])
        elif report["is"] == "hypervisor-gone":
            for machine in [m for m in self._machines.values() if m.channel is not None]:
                self._exited(machine, "crash")
        self._notify()

    def _exited(self, machine: Machine, how: str) -> None:
        """A machine has no process any more."""
        if machine.channel is not None:
            self._vms.hang_up(machine.channel)
        machine.channel = None
        self.commands.machine_ended(machine, silently=how == "crash" and machine.state == "running")
        if how == "reboot" and machine.state == "running":
            machine.restarting = True
            self._boot(machine)
            return
        if how == "off" and machine.state == "running":  # by reboot(2), without a word to anyone
            self._ending(machine, reboot=False)
        if self._stopping:
            return
        if machine.state == "running":
            log.warning("machine lost instance=%s how=%s", machine.id, how)
            why = "Server.InternalError: Internal error on launch"
            self._vms.later(self.options.lost_noticed_s, lambda: self._end(machine, "terminate", why))
            return
        self._gone(machine)

    def _end(self, machine: Machine, event: str, why: str, grace_s: float | None = None) -> None:
        """Somebody outside wants the machine to end."""
        before = machine.state
        if not self._change(machine, event, why):
            return
        if machine.channel is None:
            if before != "stopped":
                self._gone(machine)
            else:
                self._clean_up(machine)
            return
        grace_s = self.options.shutdown_grace_s if grace_s is None else grace_s
        self._tell(machine, {"do": "end", "reboot": False, "grace_s": grace_s})
        # A first process that hangs is killed: EC2 does not wait for ever either.
        self._vms.later(grace_s + 5.0, lambda: self._vms.kill(machine.id) if machine.channel is not None else None)

    def _gone(self, machine: Machine) -> None:
        self._change(machine, "gone")
        if machine.state == "terminated":
            self._clean_up(machine)

    def _clean_up(self, machine: Machine) -> None:
        self.metadata.close(machine)
        self._vms.later(self.options.forget_s, lambda: self._forget(machine))
        disk.remove(machine.disk)

    def _forget(self, machine: Machine) -> None:
        self._record.forget(machine)
        self._machines.pop(machine.id, None)

    def _start_again(self, machine: Machine) -> None:
        if self._change(machine, "start"):
            self._vms.later(self.options.boot_s, lambda: self._boot(machine))

    def _tell(self, machine: Machine, message: dict[str, Any]) -> None:
        if machine.channel is not None:
            self._vms.send(machine.channel, message)

    # What the world sees

    def _change(self, machine: Machine, event: str, why: str = "") -> bool:
        """Go to the next state, on moto's record and by EventBridge; False when `event` means nothing in this state."""
        state = machine.next_state(event)
        if state is None:
            return False
        if machine.state in ("pending", "running"):
            machine.ended_at = time.time() if state in ("shutting-down", "stopping") else None
            machine.ended_from = machine.state
        machine.state = state
        if state != "running":
            machine.registered_at = None
        self._record.changed(machine, why)
        self._notify()
        return True

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()
