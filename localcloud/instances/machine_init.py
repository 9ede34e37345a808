"""The first process of a machine (pid 1 where it has a process namespace).

It runs the user data, starts and restarts services, runs Run Command's scripts, reaps what ends, and ends the machine when
somebody in it, or EC2, says so. One thread, one `select`: requests of the machine's own commands come by a pipe in /run/machine
(one line each), EC2's by the channel (JSON, one a line; `docs/embedded-cloud.md`), ends of processes by SIGCHLD. It is forked
from the hypervisor, so it costs no interpreter start, and a script starts one fork after its message arrived.
A channel that closes means that the embedded cloud is gone: so is the machine, at once.

How it ends tells the hypervisor what it was: exit 0 is power off, REBOOT is a reboot, all else is a crash.
"""

import contextlib
import json
import os
import select
import signal
import socket
import time
from dataclasses import dataclass, field
from typing import Any

from localcloud.instances import processes
from localcloud.instances.units import Units

POWER_OFF = 0
REBOOT = 64
OUTPUT_KEPT_BYTES = 24_000  # what Run Command keeps of each stream †
READ_BYTES = 65536
USER_DATA = "/var/lib/cloud/instance/scripts/part-001"


@dataclass
class Script:
    """A Run Command script that runs."""

    id: str
    deadline: float
    timed_out: bool = False
    open: dict[int, int] = field(default_factory=dict)  # descriptor of a pipe that still speaks: index in `kept`
    kept: tuple[bytearray, bytearray] = field(default_factory=lambda: (bytearray(), bytearray()))  # output, errors


class Init:
    """One boot of one machine. `root` is "" or, without namespaces, the folder that stands for it."""

    def __init__(self, channel: socket.socket, root: str, environment: dict[str, str], grace_s: float) -> None:
        self.channel = channel
        self.root = root
        self.environment = environment
        self.grace_s = grace_s
        self.units = Units(root, environment)
        self.scripts: dict[int, Script] = {}
        self.user_data_pid = 0
        self.ending: tuple[int, float] | None = None  # exit status, when the rest is killed
        self._received = b""
        self._requested = b""

    def run(self, first_boot: bool) -> int:
        """Boot, serve until the machine ends, and answer this process's exit status."""
        wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        requests = self._open_requests()
        self.channel.setblocking(False)
        self._say({"is": "up"})
        self.units.start_enabled()
        if first_boot:
            self._run_user_data()
        while True:
            if self.ending and self._all_gone():
                return self.ending[0]
            pipes = [descriptor for script in self.scripts.values() for descriptor in script.open]
            ready, _, _ = select.select([self.channel.fileno(), requests, wake_read, *pipes], [], [], self._wait_s())
            now = time.monotonic()
            if wake_read in ready:
                os.read(wake_read, READ_BYTES)
            for script in list(self.scripts.values()):
                for descriptor in [d for d in script.open if d in ready]:
                    self._drain(script, descriptor)
            self._reap(now)
            if self.channel.fileno() in ready and not self._receive():
                self._signal_all(signal.SIGKILL)  # EC2 is gone, and so are we
                return 1
            if requests in ready:
                self._requests(os.read(requests, READ_BYTES))
            self._act_on_time(now)

    def _open_requests(self) -> int:
        """Both ends of the pipe are ours, so that it never says end of file."""
        folder = self.root + "/run/machine"
        os.makedirs(folder, 0o700, exist_ok=True)
        path = folder + "/requests"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        os.mkfifo(path, 0o600)
        return os.open(path, os.O_RDWR | os.O_NONBLOCK)

    def _run_user_data(self) -> None:
        path = self.root + USER_DATA
        if os.path.exists(path):
            self.user_data_pid = processes.start([path], self.environment, self.root or "/")
        else:
            self._say({"is": "user-data", "exit": 0})

    # Time

    def _wait_s(self) -> float | None:
        times = [script.deadline for script in self.scripts.values() if not script.timed_out]
        restart_at = self.units.next_at()
        times += [restart_at] if restart_at is not None else []
        times += [self.ending[1]] if self.ending else []
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _act_on_time(self, now: float) -> None:
        for pid, script in self.scripts.items():
            if script.deadline <= now and not script.timed_out:
                script.timed_out = True
                processes.signal_group(pid, signal.SIGKILL)
        if self.ending is None:
            self.units.restart_due(now)
        elif self.ending[1] <= now:
            self._signal_all(signal.SIGKILL)
            self.ending = (self.ending[0], now + 1.0)  # again, should something still be starting

    # The machine's processes

    def _reap(self, now: float) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            code = processes.exit_code(status)
            if pid == self.user_data_pid:
                self._say({"is": "user-data", "exit": code})
            elif pid in self.scripts:
                self._finish(self.scripts.pop(pid), code)
            else:
                self.units.ended(pid, code, now)

    def _drain(self, script: Script, descriptor: int) -> None:
        """Keep the beginning of the output and take the rest, so that the writer never blocks."""
        try:
            data = os.read(descriptor, READ_BYTES)
        except BlockingIOError:
            return
        kept = script.kept[script.open[descriptor]]
        kept += data[: OUTPUT_KEPT_BYTES - len(kept)]
        if not data:
            os.close(descriptor)
            del script.open[descriptor]

    def _finish(self, script: Script, code: int) -> None:
        for descriptor in list(script.open):
            self._drain(script, descriptor)
        for descriptor in script.open:
            os.close(descriptor)  # a background process may hold the other end: it does not hold us
        out, err = (bytes(kept).decode(errors="replace") for kept in script.kept)
        self._say({"is": "done", "id": script.id, "exit": code, "out": out, "err": err, "timed_out": script.timed_out})

    def _all_gone(self) -> bool:
        if not self.root:
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                return False
            return True
        return not processes.descendants(os.getpid())

    def _signal_all(self, number: int) -> None:
        if self.root:
            for pid in processes.descendants(os.getpid()):
                with contextlib.suppress(OSError):
                    os.kill(pid, number)
        else:
            with contextlib.suppress(OSError):
                os.kill(-1, number)  # all in our process namespace but ourselves

    def end(self, status: int, grace_s: float) -> None:
        """Ask everything to end; what is left after `grace_s` is killed."""
        if self.ending is not None:
            return
        self._say({"is": "ending", "reboot": status == REBOOT})
        self._signal_all(signal.SIGTERM)
        self.ending = (status, time.monotonic() + grace_s)

    # EC2's side

    def _say(self, message: dict[str, Any]) -> None:
        self.channel.setblocking(True)
        with contextlib.suppress(OSError):  # the end of the channel is noticed where it is read
            self.channel.sendall(json.dumps(message).encode() + b"\n")
        self.channel.setblocking(False)

    def _receive(self) -> bool:
        try:
            data = self.channel.recv(READ_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if not data:
            return False
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if message["do"] == "run":
                self._run_script(message)
            elif message["do"] == "end":
                self.end(REBOOT if message["reboot"] else POWER_OFF, message.get("grace_s", self.grace_s))
        return True

    def _run_script(self, message: dict[str, Any]) -> None:
        out_read, out_write = os.pipe2(os.O_CLOEXEC)
        err_read, err_write = os.pipe2(os.O_CLOEXEC)
        folder = message.get("folder") or self.root + "/root"
        pid = processes.start(["/bin/sh", "-c", message["script"]], self.environment, folder, out_write, err_write)
        for descriptor in (out_write, err_write):
            os.close(descriptor)
        for descriptor in (out_read, err_read):
            os.set_blocking(descriptor, False)
        deadline = time.monotonic() + message["timeout_s"]
        self.scripts[pid] = Script(message["id"], deadline, open={out_read: 0, err_read: 1})

    # The machine's own commands

    def _requests(self, data: bytes) -> None:
        *lines, self._requested = (self._requested + data).split(b"\n")
        for line in lines:
            reply, name, *words = line.decode(errors="replace").split()
            code, text = self._obey(name, words)
            with contextlib.suppress(OSError):
                path = f"{self.root}/run/machine/{os.path.basename(reply)}"
                descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
                os.write(descriptor, f"{code} {text}\n".encode())
                os.close(descriptor)

    def _obey(self, name: str, words: list[str]) -> tuple[int, str]:
        options = [word for word in words if word.startswith("-")]
        plain = [word for word in words if not word.startswith("-")]
        if name != "systemctl":
            return self._power(name, options)
        verb, names = (plain[0], plain[1:]) if plain else ("list-units", [])
        if verb in ("poweroff", "halt", "reboot"):
            return self._power(verb, options)
        if verb == "is-system-running":
            return 0, "running"
        if verb in ("daemon-reload", "list-units", "reset-failed"):
            return 0, ""
        for unit in names:
            code, text = self._unit(verb, unit, "--now" in options)
            if code or text:
                return code, text
        return 0, ""

    def _unit(self, verb: str, unit: str, now: bool) -> tuple[int, str]:
        problem = ""
        if verb == "is-active":
            return (0, "active") if self.units.is_active(unit) else (3, "inactive")
        if verb == "is-enabled":
            return (0, "enabled") if self.units.is_enabled(unit) else (1, "disabled")
        if verb in ("disable", "stop", "restart"):
            if verb == "disable":
                self.units.disable(unit)
            if verb != "disable" or now:
                self.units.stop(unit)
        elif verb not in ("enable", "start", "status"):
            return 1, f"Unknown command verb {verb}."
        if verb == "enable":
            problem = self.units.enable(unit)
        if verb == "restart":
            self.units.restart_after_stop(unit)
        elif not problem and (verb == "start" or (verb == "enable" and now)):
            problem = self.units.start(unit)
        return (1, problem) if problem else (0, "")

    def _power(self, name: str, options: list[str]) -> tuple[int, str]:
        """`shutdown` takes -h, -P, -r, -c and a time, as everywhere; the time is always now."""
        if "-c" in options:
            return 0, ""
        self.end(REBOOT if name == "reboot" or "-r" in options else POWER_OFF, self.grace_s)
        return 0, ""
