"""Starting, finding, stopping and forgetting an embedded cloud, from its state folder.

The running cloud holds a lock on `DIR/lock` and writes `DIR/status.json` (mode 0600: it will hold a token). A pid alone proves
nothing, since pids are used again: a process is only taken for ours when its start time is the recorded one too.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from localcloud import disk, orphans

STATUS = "status.json"
LOCK = "lock"
OUTPUT = "localcloud.out"
STOP_S = 20.0


class NotStarted(Exception):
    """The embedded cloud did not come up; the text says why, with the end of its output."""


class AlreadyRunning(Exception):
    """Another process holds this state folder."""


class NotOurs(Exception):
    """A folder that an embedded cloud never used is not deleted."""


@dataclass(frozen=True)
class Status:
    """A running cloud: all null when none runs. `api_url` and `token` are null until something was deployed to it."""

    aws_endpoint_url: str | None = None
    api_url: str | None = None
    token: str | None = None
    pid: int | None = None

    @property
    def running(self) -> bool:
        """Whether there is one."""
        return self.pid is not None

    def as_json(self) -> dict[str, Any]:
        """The four fields."""
        return asdict(self)


def up(state_dir: Path, wait_s: float = 60.0) -> Status:
    """Start an embedded cloud that outlives this terminal, or find the one that runs; raises NotStarted."""
    state_dir.mkdir(parents=True, exist_ok=True)
    running = status(state_dir)
    if running.running:
        return running
    output = state_dir / OUTPUT
    with output.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "localcloud", "--state", str(state_dir.resolve()), "--detached"],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=Path(__file__).resolve().parent.parent,
            start_new_session=True,
        )
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        found = status(state_dir)
        if found.running:
            return found
        if process.poll() is not None and not _held(state_dir):
            raise NotStarted(
                f"The embedded cloud ended as it started (exit code {process.returncode}). {_tail(output)}"
            )
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
    process.terminate()
    raise NotStarted(f"The embedded cloud was not ready within {wait_s:.0f} s. {_tail(output)}")


def status(state_dir: Path) -> Status:
    """What runs in a state folder."""
    record = _read(state_dir)
    if record is None or _process(record) is None:
        return Status()
    return Status(record["aws_endpoint_url"], record.get("api_url"), record.get("token"), record["pid"])


def down(state_dir: Path) -> bool:
    """Stop the cloud of a state folder, also one that is still starting, and whatever it left behind; whether there was one."""
    record = _read(state_dir) or _read(state_dir, LOCK)
    process = _process(record) if record is not None else None
    if process is not None:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_S)
            except psutil.TimeoutExpired:
                process.kill()
                process.wait(5)
    orphans.end_recorded(state_dir)
    if not status(state_dir).running:
        (state_dir / STATUS).unlink(missing_ok=True)
    return process is not None


def reset(state_dir: Path) -> None:
    """Stop the cloud and delete all it kept. Raises NotOurs for a folder that no cloud ever used."""
    if not state_dir.exists():
        return
    if any(state_dir.iterdir()) and not (state_dir / LOCK).exists():
        raise NotOurs(f"{state_dir} was never the state of an embedded cloud; it is left alone.")
    down(state_dir)
    for entry in sorted(
        state_dir.iterdir(), key=lambda entry: entry.name == LOCK
    ):  # the lock last: it says whose folder this is
        if entry.is_dir() and not entry.is_symlink():
            disk.remove(entry)
        else:
            entry.unlink()


def record(state_dir: Path, **fields: str | None) -> None:
    """Note `api_url=` and `token=` in the status of the running cloud, once there is something deployed."""
    strange = set(fields) - {"api_url", "token"}
    if strange:
        raise TypeError(f"record() takes api_url and token, not {', '.join(sorted(strange))}")
    present = _read(state_dir)
    if present is None:
        raise NotStarted(f"No embedded cloud runs in {state_dir}.")
    write_status(state_dir, {**present, **fields})


def write_status(state_dir: Path, document: dict[str, Any]) -> None:
    """Write status.json at once and readable by its owner only."""
    temporary = state_dir / f".{STATUS}.{os.getpid()}"
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(document, file, indent=2)
    temporary.replace(state_dir / STATUS)


@contextlib.contextmanager
def held(state_dir: Path, *, note: bool = True) -> Iterator[None]:
    """Hold a state folder for this process, and note there which one that is. Raises AlreadyRunning."""
    with (state_dir / LOCK).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(f"An embedded cloud already runs in {state_dir}.") from None
        if note:
            file.truncate(0)
            json.dump({"pid": os.getpid(), "pid_started": psutil.Process().create_time()}, file)
            file.flush()
        yield


def _held(state_dir: Path) -> bool:
    try:
        with held(state_dir, note=False):
            return False
    except AlreadyRunning:
        return True


def _read(state_dir: Path, name: str = STATUS) -> dict[str, Any] | None:
    try:
        document = json.loads((state_dir / name).read_text())
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) and isinstance(document.get("pid"), int) else None


def _process(record: dict[str, Any]) -> psutil.Process | None:
    """The process of a record, when it is still the one that wrote it."""
    return orphans.same_process(record["pid"], float(record.get("pid_started", 0)))


def _tail(path: Path) -> str:
    try:
        lines = path.read_text(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return (
        "Its last words: " + " / ".join(lines[-5:]) if lines else f"It said nothing; see {path.parent}/localcloud.log."
    )
