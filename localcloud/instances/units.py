"""The part of systemd that a boot script needs: services that start, restart and come back after a reboot.

A unit is read when it is started; `enable` is the same link that systemd makes (multi-user.target.wants). A service's processes
are found again by INVOCATION_ID, which systemd sets too, so that none outlives its service.
"""

import os
import shlex
import signal
from dataclasses import dataclass, field

from localcloud.instances import processes

RESTART_S = 0.1  # systemd's own default
WANTS = "multi-user.target.wants"
DURATIONS = {"ms": 0.001, "s": 1.0, "sec": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0}
ALWAYS = "always"
ON_FAILURE = ("on-failure", "on-abnormal", "on-abort")


@dataclass
class Unit:
    """One service as its file says."""

    name: str
    before: list[list[str]] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    restart: str = "no"
    restart_s: float = RESTART_S


@dataclass
class Service:
    """One service as it runs; `restart_at` is set while it waits to be restarted."""

    unit: Unit
    invocation: str
    pid: int = 0
    restart_at: float | None = None
    last_exit: int = 0
    restart_now: bool = False


def duration_s(text: str) -> float:
    """systemd's time span: "5", "100ms", "1min 30s". Unreadable ones are systemd's default restart time."""
    total = 0.0
    for word in text.split():
        digits = word.rstrip("abcdefghijklmnopqrstuvwxyz")
        try:
            total += float(digits) * DURATIONS[word[len(digits) :] or "s"]
        except (ValueError, KeyError):
            return RESTART_S
    return total


def parse(name: str, text: str) -> Unit:
    """Read a .service file. Settings that only matter to a real host (hardening, ordering) are ignored."""
    unit = Unit(name)
    section = ""
    for raw in text.replace("\\\n", " ").splitlines():
        line = raw.strip()
        if line.startswith("["):
            section = line
        elif "=" in line and line[0] not in "#;" and section == "[Service]":
            key, value = (part.strip() for part in line.split("=", 1))
            _set(unit, key, value)
    return unit


def _set(unit: Unit, key: str, value: str) -> None:
    if key == "ExecStart":
        unit.command = _command(value)
    elif key == "ExecStartPre":
        unit.before.append(_command(value))
    elif key == "Environment":
        unit.environment.update(_pair(pair) for pair in shlex.split(value) if "=" in pair)
    elif key == "EnvironmentFile":
        unit.environment.update(_environment_file(value.lstrip("-")))
    elif key == "WorkingDirectory":
        unit.folder = value.lstrip("-")
    elif key == "Restart":
        unit.restart = value
    elif key == "RestartSec":
        unit.restart_s = duration_s(value)


def _command(value: str) -> list[str]:
    # Variables are left to the program (a shell expands them as systemd would); only systemd's own escapes are undone.
    return [word.replace("$$", "$").replace("%%", "%") for word in shlex.split(value.lstrip("-@:+!"))]


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


def _environment_file(path: str) -> dict[str, str]:
    try:
        with open(path) as file:
            lines = [line.strip() for line in file]
    except OSError:
        return {}
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return {key: "".join(shlex.split(value)[:1]) for key, value in pairs}


class Units:
    """All services of a machine. `root` is "" or the folder that stands for it; times are monotonic seconds."""

    def __init__(self, root: str, environment: dict[str, str]) -> None:
        self.folder = root + "/etc/systemd/system"
        self.environment = environment
        self.services: dict[str, Service] = {}
        self._by_pid: dict[int, Service] = {}
        self._stopping: set[int] = set()

    def start_enabled(self) -> None:
        """What systemd does at boot."""
        wants = f"{self.folder}/{WANTS}"
        for name in sorted(os.listdir(wants)) if os.path.isdir(wants) else []:
            self.start(name)

    def next_at(self) -> float | None:
        """When the next restart is due."""
        return min((s.restart_at for s in self.services.values() if s.restart_at is not None), default=None)

    def restart_due(self, now: float) -> None:
        for service in list(self.services.values()):
            if service.restart_at is not None and service.restart_at <= now:
                self._run(service)

    def start(self, name: str) -> str:
        """Start `name` (with or without .service); answers "" or what is wrong."""
        name = _full(name)
        running = self.services.get(name)
        if running and running.pid:
            return ""
        try:
            with open(f"{self.folder}/{name}") as file:
                unit = parse(name, file.read())
        except OSError:
            return f"Unit {name} not found."
        if not unit.command:
            return f"Unit {name} has no ExecStart."
        self.services[name] = Service(unit, os.urandom(16).hex())
        self._run(self.services[name])
        return ""

    def _run(self, service: Service) -> None:
        unit = service.unit
        service.restart_at = None
        environment = {**self.environment, **unit.environment, "INVOCATION_ID": service.invocation}
        command = unit.command
        if unit.before:  # one shell instead of a state machine: the main command takes its place at the end
            steps = " && ".join(shlex.join(step) for step in unit.before)
            command = ["/bin/sh", "-c", f'{steps} && exec "$@"', "sh", *unit.command]
        service.pid = processes.start(command, environment, unit.folder)
        self._by_pid[service.pid] = service

    def stop(self, name: str) -> None:
        """Ask `name` to end; `ended` hears of it."""
        service = self.services.get(_full(name))
        if service is None:
            return
        service.restart_at = None
        if service.pid:
            self._stopping.add(service.pid)
            processes.signal_group(service.pid, signal.SIGTERM)

    def restart_after_stop(self, name: str) -> None:
        """`systemctl restart`: start again as soon as the old process has ended."""
        service = self.services.get(_full(name))
        if service is None or not service.pid:
            self.start(name)
        else:
            self._stopping.discard(service.pid)
            service.restart_now = True

    def ended(self, pid: int, code: int, now: float) -> bool:
        """A child ended; True when it was a service's main process. What it left behind is killed, as systemd does."""
        service = self._by_pid.pop(pid, None)
        if service is None:
            return False
        processes.signal_group(pid, signal.SIGKILL)
        for stray in processes.with_variable("INVOCATION_ID", service.invocation):
            try:
                os.kill(stray, signal.SIGKILL)
            except OSError:
                continue
        service.pid, service.last_exit = 0, code
        wanted = service.unit.restart == ALWAYS or (service.unit.restart in ON_FAILURE and code != 0)
        if service.restart_now:
            service.restart_now, service.restart_at = False, now
        elif wanted and pid not in self._stopping:
            service.restart_at = now + service.unit.restart_s
        self._stopping.discard(pid)
        return True

    def enable(self, name: str) -> str:
        name = _full(name)
        if not os.path.exists(f"{self.folder}/{name}"):
            return f"Unit file {name} does not exist."
        os.makedirs(f"{self.folder}/{WANTS}", exist_ok=True)
        link = f"{self.folder}/{WANTS}/{name}"
        if not os.path.islink(link):
            os.symlink(f"../{name}", link)
        return ""

    def disable(self, name: str) -> None:
        link = f"{self.folder}/{WANTS}/{_full(name)}"
        if os.path.islink(link):
            os.unlink(link)

    def is_enabled(self, name: str) -> bool:
        return os.path.islink(f"{self.folder}/{WANTS}/{_full(name)}")

    def is_active(self, name: str) -> bool:
        service = self.services.get(_full(name))
        return service is not None and bool(service.pid)


def _full(name: str) -> str:
    return name if name.endswith(".service") else name + ".service"
