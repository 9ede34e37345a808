"""What this host has done with each attempt, on disk before it is done.

The journal answers one question after a crash, a kill -9 or a reboot: may this attempt still begin? Each event is one line
of JSON, appended and fsynced *before* the step it names. Replaying them gives each attempt's stage:

    claiming   the claim may or may not have been written; nothing was executed (ask for the claim again)
    claimed    of a gang: the claim is won, and the others are waited for; nothing was executed
    begun      the command may have run: never again, whatever happens
    finished   the finish ping exists, and is not known to be delivered
    settled    delivered, lost to another claim, or refused for good: nothing is left to do

A torn last line (power loss in the middle of a write) is no event: the step that it names was not taken.
"""

from __future__ import annotations

import json
import os
import threading
import time
from typing import Any, Iterable, Mapping, NamedTuple, Optional

AGAIN_S = 0.5  # … after an append that failed
ORDER = ("claiming", "claimed", "begun", "finished", "settled")


class Entry(NamedTuple):
    """One attempt: its stage, the assignment as it came, the finish ping; and, for an agent that goes on with it, when it began (epoch
    seconds; and seconds after the start `boot` of the machine), as which user, whether its first process is the sandbox's own, which
    install it uses, and why it was about to be killed."""

    stage: str
    assignment: Optional[Mapping[str, Any]] = None
    ping: Optional[Mapping[str, Any]] = None
    begun_at: float = 0.0
    boot: str = ""
    begun_s: float = 0.0
    uid: int = 0
    wrapped: bool = False
    installed: str = ""
    killed: str = ""


class Replay(NamedTuple):
    """The journal's sum. `pass_no` is the newest inbox obeyed, `born_at` when this host's agent first started (and `born_s` seconds after
    the start `boot` of the machine); `domain` is whose jobs this host has had since it was last clean, "" for nobody's."""

    entries: Mapping[str, Entry]
    pass_no: int
    born_at: float
    domain: str = ""
    boot: str = ""
    born_s: float = 0.0

    def age_s(self, now: float, boot: str, since_boot_s: float) -> float:
        """Since then; by the time of day, which somebody may have set, only where the machine has restarted meanwhile."""
        return since_boot_s - self.born_s if self.boot and self.boot == boot else max(0.0, now - self.born_at)

    def begun(self) -> list[dict[str, Any]]:
        """The attempts that have begun and not ended, as pings name them."""
        return [named(key) for key, entry in self.entries.items() if entry.stage == "begun"]


def named(key: str) -> dict[str, Any]:
    """An attempt, as pings name it."""
    job, _, attempt = key.partition("#")
    return {"job": job, "attempt": int(attempt)}


def parse(data: bytes) -> list[dict[str, Any]]:
    """The events of a journal file; lines that are torn or no events are left out."""
    events = []
    for line in data.split(b"\n")[:-1]:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and isinstance(event.get("e"), str):
            events.append(event)
    return events


def replay(events: Iterable[Mapping[str, Any]]) -> Replay:
    """Add events up. A stage never goes back: `settled` stays settled whatever follows."""
    entries: dict[str, Entry] = {}
    pass_no, born_at, boot, born_s, domain = 0, 0.0, "", 0.0, ""
    for event in events:
        kind = event["e"]
        if kind == "pass":
            pass_no = max(pass_no, int(event["pass_no"]))
        elif kind == "born":
            if not born_at:
                born_at = float(event["at"])
                boot, born_s = str(event.get("boot") or ""), float(event.get("boot_s") or 0.0)
        elif kind == "domain":
            domain = str(event["domain"])
        elif kind in ORDER:
            key = str(event["key"])
            old = entries.get(key)
            if old is not None and ORDER.index(kind) < ORDER.index(old.stage):
                continue
            entry = old or Entry(kind)
            entries[key] = entry._replace(
                stage=kind,
                assignment=event.get("assignment") or entry.assignment,
                ping=event.get("ping") or entry.ping,
                **(_begun(event, entry) if kind == "begun" else {}),
            )
    return Replay(entries, pass_no, born_at, domain, boot, born_s)


def _begun(event: Mapping[str, Any], before: Entry) -> dict[str, Any]:
    return {
        "begun_at": float(event.get("at") or before.begun_at),
        "boot": str(event.get("boot") or before.boot),
        "begun_s": float(event.get("boot_s") or before.begun_s),
        "uid": int(event.get("uid") or before.uid),
        "wrapped": bool(event.get("wrapped") or before.wrapped),
        "installed": str(event.get("installed") or before.installed),
        "killed": before.killed or str(event.get("killed") or ""),
    }


def compacted(sum_: Replay) -> list[dict[str, Any]]:
    """The fewest events that replay to the same sum; settled attempts keep only their name."""
    events: list[dict[str, Any]] = []
    if sum_.born_at:
        events.append({"e": "born", "at": sum_.born_at, "boot": sum_.boot, "boot_s": sum_.born_s})
    if sum_.pass_no:
        events.append({"e": "pass", "pass_no": sum_.pass_no})
    if sum_.domain:
        events.append({"e": "domain", "domain": sum_.domain})
    for key, entry in sum_.entries.items():
        event: dict[str, Any] = {"e": entry.stage, "key": key}
        if entry.stage != "settled":
            begun = {
                "at": entry.begun_at,
                "boot": entry.boot,
                "boot_s": entry.begun_s,
                "uid": entry.uid,
                "wrapped": entry.wrapped,
                "installed": entry.installed,
                "killed": entry.killed,
            }
            if any(begun.values()):
                events.append({"e": "begun", "key": key, **{name: value for name, value in begun.items() if value}})
            event.update(
                {name: value for name, value in (("assignment", entry.assignment), ("ping", entry.ping)) if value}
            )
        events.append(event)
    return events


class Journal:
    """The file. Any thread may append; an append returns only when the event is on the disk.

    Where there is no journal to be had, `lost` says why: then nothing may begin here, for nobody knows what has begun.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._fault = ""
        self._fd = -1
        self.lost = ""
        self.at_start = replay(())
        try:
            self._open()
        except OSError as error:
            self.lost = "its journal cannot be opened: %s" % error.strerror

    def _open(self) -> None:
        path = self._path
        try:
            with open(path, "rb") as file:
                data = file.read()
        except FileNotFoundError:
            data = b""
        self.at_start = replay(parse(data))
        if data:
            lines = b"".join(self._line(event) for event in compacted(self.at_start))
            with open(path + ".new", "wb") as file:
                file.write(lines)
                file.flush()
                os.fsync(file.fileno())
            os.replace(path + ".new", path)
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_CLOEXEC)
        os.fsync(folder)
        os.close(folder)

    @staticmethod
    def _line(event: Mapping[str, Any]) -> bytes:
        return json.dumps(event, separators=(",", ":")).encode() + b"\n"

    def append(self, kind: str, key: str = "", **fields: Any) -> None:
        """Write one event and wait for the disk. Raises OSError (disk full): then the step must not be taken."""
        event: dict[str, Any] = {"e": kind}
        if key:
            event["key"] = key
        event.update(fields)
        with self._lock:
            self._write(self._line(event))

    def give_back(self, key: str) -> dict[str, Any]:
        """Note that the attempt will never begin here; what the `refused` ping says of that.

        Whoever takes it back wins the claim first. Where an agent before this one may have won it, the journal's word is as good: only
        then, and only once it is on the disk, is it given.
        """
        try:
            self.append("settled", key)
        except OSError:  # a sick disk
            return {}
        entry = self.at_start.entries.get(key)
        return {"unbegun": True} if entry is not None and entry.stage in ("claiming", "claimed") else {}

    def insist(self, kind: str, key: str, within_s: float, **fields: Any) -> bool:
        """Append, again and again where the disk is full; whether it is there now. One that is lost says nothing to who comes later."""
        give_up = time.monotonic() + within_s
        while True:
            try:
                self.append(kind, key, **fields)
                return True
            except OSError:
                if self.lost or time.monotonic() >= give_up:
                    return bool(self.lost)
            time.sleep(min(AGAIN_S, within_s))

    def check(self) -> str:
        """Why it cannot be relied on now, as a sentence; "" when it can. After a failed append it is tried again."""
        if self.lost:
            return self.lost
        with self._lock:
            try:
                if not os.path.samestat(os.fstat(self._fd), os.stat(self._path)):
                    self.lost = "its journal was replaced by another file"
                elif self._fault:
                    self._write(b"\n")  # an empty line is no event
            except FileNotFoundError:
                self.lost = "its journal was removed"
            except OSError as error:
                self._fault = "its journal cannot be written: %s" % (error.strerror or error)
            return self.lost or self._fault

    def _write(self, line: bytes) -> None:
        if self.lost:
            raise OSError(self.lost)
        try:
            written = os.write(self._fd, line)
            if written != len(line):
                os.write(self._fd, b"\n")  # ends the torn line, so that the next event starts on one of its own
                raise OSError("the journal could not be written whole: the disk is full")
            os.fdatasync(self._fd)
        except OSError as error:
            self._fault = "its journal cannot be written: %s" % (error.strerror or error)
            raise
        self._fault = ""

    def close(self) -> None:
        """Close the file; appending is an error from now on."""
        os.close(self._fd)
