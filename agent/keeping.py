"""What an attempt tells of itself while it runs, and what it leaves for the one after it: progress, alarm, checkpoints.

An adopted attempt's is the same as one that has just begun: what must not be forgotten is in a file beside the attempt's
folders, written before it is acted upon - a checkpoint's number above all, so that no object is ever written twice.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple, Optional, Union

from agent import checkpoints, packing, progress
from agent.aws import Refused
from agent.job_socket import Answer, Door, Doors, Keep, Progress
from agent.sandbox import Mount
from agent.wire import Unreachable

if TYPE_CHECKING:
    from agent.attempt import Attempt

SHOWN_SOCKET, SHOWN_CHECKPOINT = "/spillway", "/checkpoint"
SENTENCE_MAX = 300
ASKED_OF_CRIU = "it is kept in a moment"  # not before this is answered: who waits for an answer has a socket open, which cannot be kept


class Users:
    """Whose user is whose: processes that go on bring theirs with them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: dict[str, int] = {}

    def take(self, key: str, uid: int) -> bool:
        """Whether the attempt has it now, and no other."""
        with self._lock:
            if any(held == uid for other, held in self._of.items() if other != key):
                return False
            self._of[key] = uid
            return True

    def take_first(self, key: str, first_uid: int) -> int:
        """The first that no attempt has, from `first_uid` on: the attempt's now."""
        with self._lock:
            held = set(self._of.values())
            self._of[key] = next(uid for uid in range(first_uid, first_uid + len(held) + 1) if uid not in held)
            return self._of[key]

    def free(self, key: str) -> None:
        """Its attempt has ended."""
        with self._lock:
            self._of.pop(key, None)


class Keepers(NamedTuple):
    """What the attempts of a host share for this."""

    doors: Doors
    saver: checkpoints.Saver
    users: Users


class Keeping:
    """Of one attempt. Any thread may call anything; `close` is the last."""

    def __init__(self, attempt: "Attempt") -> None:
        self._attempt = attempt
        self.key = attempt.assignment.key
        self._wanted = attempt.assignment.checkpoint
        self._lock = threading.Lock()  # of what is known
        self._saving = threading.Lock()  # one save at a time
        self._door: Optional[Door] = None
        self._state = progress.State(_boot_time())
        self._number = 0
        self._digest = ""
        self._bytes = 0
        self._last: Optional[dict[str, Any]] = None
        self._problem = ""
        self._answers: list[Answer] = []
        self._due_at = checkpoints.NEVER
        self._saved_at = 0.0
        self._interrupt_at = 0.0
        self._over = threading.Event()
        self._pid = 0
        self.cannot = ""  # why its processes are not kept

    @property
    def by_criu(self) -> bool:
        """Whether its processes are kept, and can be here."""
        return self._wanted is not None and self._wanted.by == "criu" and not self.cannot

    @property
    def mounts(self) -> tuple[Mount, ...]:
        """What its command sees of this."""
        paths = self._attempt.paths
        found = [Mount(paths.door, SHOWN_SOCKET, variable="SPILLWAY_AGENT_DIR", on_path=True)]
        if self._wanted is not None and self._wanted.by == "files":
            found.append(Mount(paths.checkpoint, SHOWN_CHECKPOINT, True, "SPILLWAY_CHECKPOINT_DIR"))
        return tuple(found)

    @property
    def wish(self) -> checkpoints.Wish:
        """When it wants to be saved."""
        with self._lock:
            return checkpoints.Wish(self.key, self._due_at, self._bytes, bool(self._interrupt_at))

    @property
    def bytes(self) -> int:
        """How large what it keeps was when it was last looked at."""
        return self._bytes

    def open(self) -> None:
        """Its command is about to begin, or was found running: listen to it. Raises OSError."""
        self._resume()
        keepers, attempt = self._attempt.host.keepers, self._attempt
        sandbox = attempt.host.sandbox.default
        uid = attempt.uid if sandbox is not None and sandbox.drops_uid else 0
        self._door = Door(attempt.paths.door, None if attempt.as_image else uid, self._heard)
        keepers.doors.add(self._door)
        if self._wanted is not None and self._wanted.by == "criu":
            from agent import criu

            self.cannot = criu.lacks(sandbox, attempt.assignment.network)
        if self._wanted is not None and self.cannot:
            self._problem = "its processes are not kept: %s" % self.cannot
        elif self._wanted is not None:
            self._due_at = time.monotonic() + self._wanted.interval_s
            keepers.saver.add(self)

    def began(self, pid: int) -> None:
        """Its command is below the process `pid`."""
        self._pid = pid

    def not_thawed(self) -> str:
        """Of processes that were to go on: why they did not; "" where they did, or there were none."""
        images = self._attempt.paths.thawing
        if not self._attempt.thawed_from or not os.path.isdir(images):
            return ""
        from agent import criu

        why = criu.not_thawed(images)
        if why:
            broken = self._attempt.thawed_from
            with self._lock:
                fields = self._fields(_boot_time())
            self._attempt.ping("progress", **fields, checkpoint_broken=broken)
        return why and "the processes of its checkpoint could not go on here: %s" % why

    def close(self, last: bool) -> None:
        """Its command has ended. `last`: it may be continued elsewhere, so what it has left is kept once more."""
        keepers = self._attempt.host.keepers
        if self._door is None:
            return
        keepers.doors.remove(self._door)
        self._door = None
        if self._wanted is not None:
            keepers.saver.remove(self)
            self._over.set()
            if last and self._wanted.by == "files":
                self.save()

    def interrupted(self, at: float) -> None:
        """EC2 takes the machine back at `at`, and its command has been warned."""
        with self._lock:
            self._interrupt_at = at
            if self._wanted is not None and not self.cannot:
                self._due_at = min(self._due_at, checkpoints.warned(time.monotonic(), at - time.time()))
        self._attempt.host.keepers.saver.wake()

    def measure(self) -> int:
        """How large what it keeps is now, for the order in which attempts are warned."""
        if self._wanted is not None and self._wanted.by == "files":
            with contextlib.suppress(OSError, packing.Unkept):
                self._bytes = packing.look(self._attempt.paths.checkpoint).bytes
        return self._bytes

    def tell(self, regular: bool) -> None:
        """Say how far it is, if that is due; `regular`: with the pings that come anyway."""
        if self._door is None:
            return  # its command has not begun, or has ended
        now = _boot_time()
        with self._lock:
            self._state = progress.looked(self._state, self._attempt.assignment.stall_s, now)
            if not progress.is_due(self._state, now, regular):
                return
            news, self._state = self._state.news, self._state._replace(told_at=now, news=False)
            if news:
                self._note()
            fields = self._fields(now)
        self._attempt.ping("progress", **fields)

    def _fields(self, now: float) -> dict[str, Any]:
        found = {**progress.fields(self._state, now), "log_bytes": self._attempt.log_bytes}
        if self._last is not None:
            found["checkpoint"] = self._last
        if self._problem:
            found["checkpoint_problem"] = self._problem
        return found

    # --- what the command says

    def _heard(self, asked: Union[Progress, Keep], answer: Answer) -> None:
        if isinstance(asked, Progress):
            with self._lock:
                self._state = progress.said(self._state, asked, _boot_time())
            answer("ok")
        elif self._wanted is None:
            answer("no nothing is kept of this job: its spec has no checkpoint")
        elif self.cannot:
            answer("no " + self._problem)
        else:
            if self._wanted.by == "criu":
                answer("ok " + ASKED_OF_CRIU)
            with self._lock:
                self._answers += [answer] if self._wanted.by == "files" else []
                self._due_at = min(self._due_at, checkpoints.asked(time.monotonic(), self._saved_at))
            self._attempt.host.keepers.saver.wake()

    # --- saving

    def save(self) -> None:
        """Keep what there is now, and tell it; what goes wrong is told, too."""
        with self._saving:
            with self._lock:
                answers, self._answers = self._answers, []
            problem, said = "", ""
            try:
                said = self._keep()
            except packing.Unkept as error:
                problem = "its checkpoint was not kept: %s" % error
            except (Refused, Unreachable, OSError) as error:
                problem = "its checkpoint could not be stored: %s" % error
            except Exception as error:  # its thread saves for others, too
                problem = "its checkpoint could not be made: %s: %s" % (type(error).__name__, error)
            now = time.monotonic()
            with self._lock:
                self._saved_at = now
                self._due_at = checkpoints.following(
                    now,
                    self._wanted.interval_s if self._wanted is not None else checkpoints.NEVER,
                    interrupted=bool(self._interrupt_at),
                    failed=bool(problem),
                )
                if self._answers:  # they came while it was read
                    self._due_at = min(self._due_at, checkpoints.asked(now, now))
                news = said.startswith("kept") or problem[:SENTENCE_MAX] != self._problem
                self._problem = problem[:SENTENCE_MAX]
                fields = self._fields(_boot_time())
            if news:
                self._attempt.ping("progress", **fields)
            for answer in answers:
                answer("no " + problem if problem else "ok " + said)

    def _keep(self) -> str:
        assert self._wanted is not None
        attempt, at = self._attempt, round(time.time(), 3)
        target = os.path.join(attempt.host.keepers.saver.folder, self.key + ".tar.gz")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(target)
        wait = self._over.wait if not self._over.is_set() else _just_wait
        limit_bytes = self._wanted.mib_max << 20
        if self._wanted.by == "files":
            found = packing.freeze(attempt.paths.checkpoint, target, limit_bytes, self._digest, wait)
        else:
            from agent import criu

            with criu.frozen(self._pid, attempt.uid, attempt.paths.thawing):
                found = packing.freeze(attempt.paths.top, target, limit_bytes, "", wait, criu.PACKED)
        self._bytes = found.bytes
        if not found.entries:
            return "nothing is there to be kept"
        if found.digest == self._digest:
            return "nothing is new since checkpoint %d" % self._number
        try:
            with self._lock:
                self._number += 1
                self._note()
            key = "%scheckpoint/%d.tar.gz" % (attempt.prefix, self._number)
            size = os.path.getsize(target)
            attempt.host.aws.put_file(key, target, size)
        finally:
            os.unlink(target)
        with self._lock:
            self._digest = found.digest
            self._last = {"key": key, "bytes": size, "at": at}
            self._note()
        return "kept as checkpoint %d: %d bytes" % (self._number, size)

    # --- what survives this agent

    def _note(self) -> None:
        document = {
            **progress.kept(self._state),
            "number": self._number,
            "digest": self._digest,
            "bytes": self._bytes,
            "last": self._last,
        }
        path = self._attempt.paths.kept
        with contextlib.suppress(OSError):  # a full disk: the next agent may tell it twice
            with open(path + ".new", "w") as file:
                json.dump(document, file)
            os.replace(path + ".new", path)

    def _resume(self) -> None:
        try:
            with open(self._attempt.paths.kept) as file:
                document = json.load(file)
        except (OSError, ValueError):
            self._state = progress.State(_boot_time())
            return
        self._state = progress.resumed(document, _boot_time())
        self._number, self._bytes = int(document.get("number") or 0), int(document.get("bytes") or 0)
        self._digest, self._last = str(document.get("digest") or ""), document.get("last")


def _boot_time() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _just_wait(seconds: float) -> bool:
    time.sleep(seconds)
    return False
