"""The process that machines are forked from: small, single-threaded, and the root of everything that runs on instances.

The fleet starts one and tells it, over a socket, which machines to boot; with each order comes the machine's own channel. A boot
is a fork of this process, some mounts and no exec, so twenty machines boot in a fraction of a second on two cores.

With isolation, this process is itself the first of a process namespace (of a user namespace, too, where it is not root), and each
machine has namespaces below it: when this process ends, however it ends, the kernel ends all machines. It ends itself when the
fleet's end of the socket closes, which is also what happens when the embedded cloud is killed. Without isolation (`none`), machines
are plain process trees, found by parentage and control group.

Orders (JSON, one a packet): `boot`, `kill`. Reports: `ready` {isolation, why}, `exited` {id, how}, how being "off", "reboot" or
"crash".
"""

import contextlib
import json
import os
import select
import signal
import socket
import sys
import tempfile
import time
from typing import Any

from localcloud.instances import cgroups, image, linux, processes, rootfs
from localcloud.instances.machine_init import POWER_OFF, REBOOT, Init

MESSAGE_MAX_BYTES = 65536
NAMESPACES = linux.CLONE_NEWNS | linux.CLONE_NEWUTS | linux.CLONE_NEWIPC
HOW = {
    POWER_OFF: "off",
    REBOOT: "reboot",
    128 + signal.SIGINT: "off",
    128 + signal.SIGHUP: "reboot",
}  # signals: reboot(2)
PROBE = "probe"


class Hypervisor:
    """Forks machines, waits for them, cleans up after them."""

    def __init__(self, control: socket.socket, isolated: bool, slice_name: str) -> None:
        self.control = control
        self.isolated = isolated
        self.own_pids = os.open("/proc/self/ns/pid", os.O_RDONLY) if isolated else -1
        self.slice = cgroups.create(cgroups.hierarchies(), slice_name)
        for _, folder in self.slice:
            cgroups.offer_controllers(folder)
        self.machines: dict[int, str] = {}
        self.groups: dict[str, list[tuple[str, str]]] = {}

    def boot(self, order: dict[str, Any], channel: socket.socket) -> int:
        """Fork a machine's first process and answer its pid."""
        groups = cgroups.create(self.slice, order["id"])
        self.groups[order["id"]] = groups
        if self.isolated:
            linux.unshare(linux.CLONE_NEWPID)  # of the children only
        pid = os.fork()
        if pid:
            if self.isolated:
                linux.enter_namespace(self.own_pids, linux.CLONE_NEWPID)
            self.machines[pid] = order["id"]
            return pid
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            self.control.close()
            status = self._be_machine(order, groups, channel)
        except BaseException as error:
            with contextlib.suppress(OSError):
                os.write(2, f"spillway: the machine could not boot: {error}\n".encode())
        finally:
            os._exit(status)

    def _be_machine(self, order: dict[str, Any], groups: list[tuple[str, str]], channel: socket.socket) -> int:
        if self.isolated:
            linux.die_with_parent(signal.SIGKILL)
        os.setsid()
        console = os.open(order["console"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(console, 1)
        os.dup2(console, 2)
        groups = cgroups.join(groups)
        root = order["disk"]
        rootfs.prepare_disk(root, order["hostname"])
        if self.isolated:
            linux.unshare(NAMESPACES)
            with contextlib.suppress(OSError):
                linux.unshare(linux.CLONE_NEWCGROUP)
            linux.set_hostname(order["hostname"])
            rootfs.enter(root, order["image"], groups, order["python"])
            linux.drop_host_capabilities()
            root = ""
        else:
            linux.adopt_orphans()
        for hierarchy, folder in groups:
            if hierarchy == "" or hierarchy == "unified":
                self._leave_unified_root(f"/sys/fs/cgroup/{hierarchy}" if self.isolated else folder)
        if order["id"] == PROBE:
            _, status = os.waitpid(processes.start(["/bin/sh", "-c", "exit 0"], {}, "/"), 0)
            return processes.exit_code(status)
        return Init(channel, root, order["environment"], order["grace_s"]).run(order["first_boot"])

    def _leave_unified_root(self, folder: str) -> None:
        """In the unified tree only leaves hold processes, so that the machine's own root can be divided."""
        with contextlib.suppress(OSError):
            os.makedirs(folder + "/init.scope", exist_ok=True)
            with open(folder + "/init.scope/cgroup.procs", "w") as file:
                file.write("0")
            cgroups.offer_controllers(folder)

    def probe(self, shared: str) -> None:
        """Boot a machine that does nothing; raises OSError with the reason when this host does not let us."""
        with tempfile.TemporaryDirectory(dir=os.path.dirname(shared), prefix="probe-") as folder:
            order = {"id": PROBE, "disk": folder + "/disk", "console": folder + "/console", "hostname": PROBE}
            here, there = socket.socketpair()
            pid = self.boot({**order, "image": shared, "python": ""}, there)
            here.close()
            there.close()
            _, status = os.waitpid(pid, 0)
            self.ended(pid)
            if status:
                with open(order["console"]) as file:
                    raise OSError(file.read().strip() or f"a trial machine ended with {status}")

    def kill(self, machine: str) -> None:
        """kill -9 of everything in `machine`."""
        for pid in [pid for pid, name in self.machines.items() if name == machine]:
            strays = [] if self.isolated else processes.descendants(pid)
            for each in (pid, *strays):
                with contextlib.suppress(OSError):
                    os.kill(each, signal.SIGKILL)
            if not self.isolated:
                cgroups.kill(self.groups.get(machine, []))

    def ended(self, pid: int) -> str:
        """Forget an ended machine and remove its control groups; answers its id."""
        machine = self.machines.pop(pid)
        groups = self.groups.pop(machine, [])
        if not self.isolated:
            cgroups.kill(groups)
        give_up_at = time.monotonic() + 1.0
        while groups and not cgroups.remove(groups) and time.monotonic() < give_up_at:
            time.sleep(0.005)  # the kernel lets go of a killed process's group a moment later, and says so to nobody
        return machine

    def serve(self) -> None:
        """Until the fleet closes its end of the socket."""
        wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        while True:
            ready, _, _ = select.select([self.control.fileno(), wake_read], [], [])
            if wake_read in ready:
                os.read(wake_read, 4096)
                self._reap()
            if self.control.fileno() in ready and not self._receive():
                return

    def _receive(self) -> bool:
        # SOCK_SEQPACKET: one order a packet, so a descriptor always belongs to the order it came with.
        data, descriptors, _, _ = socket.recv_fds(self.control, MESSAGE_MAX_BYTES, 1)
        if not data:
            return False
        order = json.loads(data)
        if order["do"] == "boot":
            with socket.socket(fileno=descriptors[0]) as channel:
                self.boot(order, channel)
        elif order["do"] == "kill":
            self.kill(order["id"])
        return True

    def _reap(self) -> None:
        while self.machines or not self.isolated:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self.machines:
                how = HOW.get(processes.exit_code(status), "crash")
                self.say({"is": "exited", "id": self.ended(pid), "how": how})

    def say(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):
            self.control.send(json.dumps(message).encode())

    def stop(self) -> None:
        """End every machine and remove every control group."""
        for machine in list(self.machines.values()):
            self.kill(machine)
        for pid in list(self.machines):
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
            self.ended(pid)
        cgroups.remove(self.slice)


def isolate() -> None:
    """Go on as the first process of a new process namespace; the process that was here only waits. Raises OSError."""
    user, group = os.getuid(), os.getgid()
    linux.unshare(linux.CLONE_NEWPID | (linux.CLONE_NEWUSER if user else 0))
    if user:
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    pid = os.fork()
    if pid:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        os.waitpid(pid, 0)
        os._exit(0)
    linux.die_with_parent(signal.SIGKILL)


def image_in_memory(folder: str, with_etc: bool) -> None:
    """Make the machines' image in a file system of ours that nobody else sees, and that ends with us."""
    linux.unshare(linux.CLONE_NEWNS)
    linux.mount("", "/", flags=linux.MS_REC | linux.MS_PRIVATE)
    linux.mount("tmpfs", folder, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=755,size=64m")
    image.build(folder, with_etc)


def trial(folder: str, slice_name: str) -> str:
    """Boot a machine that does nothing, in a process of its own because there is no way back out of a namespace. Answers "", or
    what this host does not allow."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        why = "the trial machine's host died"
        try:
            isolate()
            here, _there = socket.socketpair()
            image_in_memory(folder, with_etc=False)
            tester = Hypervisor(here, True, slice_name + "-trial")
            tester.probe(folder)
            tester.stop()
            why = ""
        except OSError as error:
            why = str(error)
        finally:
            os.write(write, (why or "ok").encode())
            os._exit(0)
    os.close(write)
    os.waitpid(pid, 0)
    with open(read, "rb") as file:
        said = file.read().decode(errors="replace")
    return "" if said == "ok" else said or "the trial machine's host died"


def main() -> None:
    """`hypervisor CONTROL_FD IMAGE ISOLATION SLICE`: ISOLATION is auto, namespaces or none."""
    control = socket.socket(fileno=int(sys.argv[1]))
    os.set_inheritable(control.fileno(), False)
    folder, isolation, slice_name = sys.argv[2:5]
    os.makedirs(folder, exist_ok=True)
    os.umask(0o022)
    why = "told so" if isolation == "none" else trial(folder, slice_name)
    if why and isolation == "namespaces":
        raise SystemExit(f"spillway: this host does not let machines have namespaces: {why}")
    if why:
        linux.adopt_orphans()
        image.build(folder, with_etc=False)
    else:
        isolate()
        image_in_memory(folder, with_etc=True)
    hypervisor = Hypervisor(control, isolated=not why, slice_name=slice_name)
    hypervisor.say({"is": "ready", "isolation": "none" if why else "namespaces", "why": why})
    hypervisor.serve()
    hypervisor.stop()
