"""Installs: a job's script that is run once on this host, outside of the sandbox, before the first attempt that names it may begin.

An install is known by its version, the digest of what is run. The first attempt that needs it brings its inputs along; from then on it
runs in a thread of its own, and all attempts that need it wait: so one of them may be cancelled without harm to the others. When
nobody waits any more it is stopped. Package managers hold locks of the whole machine, so one install runs at a time.

    <version>/inputs    as they came, for the next try; gone when it is ready
    <version>/folder    where it runs, and what attempts are shown (read-only) while it is kept
    <version>/log, trace, install.sh (the text of one that came as text)
    <version>/READY     written last, when all before it is on the disk: without it, the rest is rubbish of a crash

A version that failed TRIES_MAX times is not tried again by this agent: its host is told as sick, and a fresh one takes over.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import select
import threading
import time
from typing import Any, Callable, Iterable, NamedTuple, Optional

from agent import folder
from agent.install_run import Runner, Site
from agent.keep import Keep, Kept
from agent.manifest import Input, Install
from agent.refusal import Refusal
from agent.supervise import Stopper
from agent.unpack import safe_parts

TRIES_MAX = 3
BACKOFF_GROWTH = 4
COUNT_MAX = 16
LOOK_EVERY_S = 1.0
WAITING_TOLD_MAX = 32
REASON_MAX = 1000
PREFIX = "install-"  # of names among what the host keeps


def version_at(installed: str) -> str:
    """Of the install whose folder this is."""
    return os.path.basename(os.path.dirname(installed))


def version(install: Install, inputs: Iterable[Input], work: str) -> str:
    """The digest of what would be run: the script's text, or what lies in the folder of the script among the inputs.

    Inputs that are known by their content are not read; a repository or an object of S3, which nobody knows beforehand, is.
    """
    if install.script:
        return _digest(["script", install.script])
    home = safe_parts(install.path)[:-1]
    named = [one for one in inputs if _concerns(safe_parts(one.path), home)]
    if all(one.text is not None or one.sha256 for one in named):
        return _digest(["path", install.path, sorted([one.path, one.unpack, one.sha256, one.text] for one in named)])
    return _digest(["path", install.path, _tree(os.path.join(work, *home))])


def _concerns(parts: list[str], home: list[str]) -> bool:
    """Whether an input at `parts` lies in the folder `home`, or holds it."""
    shorter = min(len(parts), len(home))
    return parts[:shorter] == home[:shorter]


def _digest(said: Any) -> str:
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _tree(top: str) -> list[list[str]]:
    """Every file below `top` with the digest of its content, every link with its target. A repository's own folder is left out."""
    found = []
    for parent, entries in folder.walk(top):
        here = os.path.relpath(parent, top)
        if ".git" in here.split("/"):
            continue
        for entry in entries:
            name = os.path.join(here, entry.name)
            if entry.is_symlink():
                found.append([name, "link", os.readlink(entry.path)])
            elif entry.is_file(follow_symlinks=False):
                digest = hashlib.sha256()
                with open(entry.path, "rb") as file:
                    for block in iter(lambda: file.read(1 << 20), b""):
                        digest.update(block)
                found.append([name, str(entry.stat().st_mode & 0o111 != 0), digest.hexdigest()])
    return sorted(found)


class Order(NamedTuple):
    """What an attempt needs. `fill(path)` makes the folder `path` with the inputs that the script is run with; raises Refusal, OSError.
    `shown`: where commands find their work folder, and the script its own, too."""

    version: str
    install: Install
    fill: Callable[[str], None]
    shown: str = ""

    @property
    def name(self) -> str:
        """What sentences call it."""
        return self.install.path or "install.sh"


class _Run:
    """One install on its way: `outcome` is None until it is over, then "ready", "failed" or "stopped"."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.stopper = Stopper()
        self.waiting: list[str] = []
        self.outcome: Optional[str] = None
        self.over_fd, self._open_fd = os.pipe2(os.O_CLOEXEC)

    def end(self, outcome: str) -> None:
        """Wakes all who wait on (a duplicate of) `over_fd`."""
        self.outcome = outcome
        os.close(self._open_fd)
        os.close(self.over_fd)


class Installs:
    """All of a host's. `tell(told())` is called after each change; `sick(sentence)` when one has failed for good."""

    def __init__(
        self,
        top: str,
        keep: Keep,
        runner: Runner,
        backoff_s: float,
        tell: Callable[[list[dict[str, Any]]], object],
        sick: Callable[[str], None],
    ) -> None:
        self._top, self._keep, self._runner, self._backoff_s = top, keep, runner, backoff_s
        self._tell, self._sick = tell, sick
        self._runs: dict[str, _Run] = {}
        self._told: dict[str, dict[str, Any]] = {}  # least recently changed first
        self._one_at_a_time = threading.Lock()
        self._read()

    def _read(self) -> None:
        """What an earlier agent has left: what is ready is kept, all else is rubbish."""
        found = []
        with contextlib.suppress(OSError):
            for name in os.listdir(self._top):
                site = self._site(name)
                try:
                    with open(site.ready, encoding="utf-8") as file:
                        about = json.load(file)
                    found.append((os.stat(site.ready).st_mtime, PREFIX + name, self._kept(name, int(about["bytes"]))))
                    self._told[name] = {**about["told"], "waiting": []}
                except (OSError, ValueError, KeyError, TypeError):
                    folder.remove(site.top)
        self._keep.found(found)
        if os.path.isdir(self._top):  # what the agent before this one has told last may not be so any more
            self._tell(self.told())

    def _site(self, of_version: str) -> Site:
        return Site(os.path.join(self._top, of_version))

    def _kept(self, of_version: str, size_bytes: int) -> Kept:
        def remove() -> None:
            site = self._site(of_version)
            self._told.pop(of_version, None)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(site.ready)
            gone = os.path.join(self._top, ".gone-" + os.urandom(8).hex())
            os.rename(site.top, gone)
            threading.Thread(target=folder.remove, args=(gone,), daemon=True).start()

        return Kept(size_bytes, remove, costly=True)

    def held(self, of_version: str) -> "contextlib.AbstractContextManager[None]":
        """While this lasts it is not removed."""
        return self._keep.held(PREFIX + of_version)

    def told(self) -> list[dict[str, Any]]:
        """What pings say: each install that runs, is ready, or has failed; those that changed last come last."""
        with self._keep.changed:
            return [dict(one) for one in self._told.values()][-COUNT_MAX:]

    def running(self) -> bool:
        """Whether one is on its way."""
        with self._keep.changed:
            return bool(self._runs)

    def provide(self, order: Order, key: str, stopper: Stopper, unwanted: Callable[[], bool]) -> str:
        """Wait until it is ready, whoever runs it; its folder. "" when `stopper` was heard or it is `unwanted` by now.

        The caller holds the version. Raises Refusal when it has failed, or when the inputs of `order` cannot be used.
        """
        while True:
            with self._keep.changed:
                kept = self._keep.get(PREFIX + order.version)
                if kept is not None:
                    self._keep.put(PREFIX + order.version, kept)
                    with contextlib.suppress(OSError):
                        os.utime(self._site(order.version).ready)
                    return self._site(order.version).folder
                past = self._told.get(order.version)
                if past is not None and past["state"] == "failed":
                    raise Refusal("install_failed", past["reason"], install=order.version)
                run = self._runs.get(order.version)
                leads = run is None
                if run is None:
                    run = self._runs[order.version] = _Run(order)
                run.waiting.append(key)
                over_fd = os.dup(run.over_fd)
            try:
                if leads:
                    self._lead(run)
                if not self._wait(run, over_fd, stopper, unwanted):
                    return ""
            finally:
                os.close(over_fd)
                with self._keep.changed:
                    run.waiting.remove(key)
                    if not run.waiting:
                        run.stopper.stop("unwanted")

    def _lead(self, run: _Run) -> None:
        site = self._site(run.order.version)
        try:
            folder.remove(site.top)
            os.makedirs(site.top, 0o755)
            run.order.fill(site.inputs)
        except BaseException:
            self._end(run, "stopped")  # whoever waits too brings inputs of its own
            raise
        threading.Thread(target=self._run, args=(run,), name="install", daemon=True).start()

    def _wait(self, run: _Run, over_fd: int, stopper: Stopper, unwanted: Callable[[], bool]) -> bool:
        poll = select.poll()
        poll.register(over_fd, select.POLLIN)
        poll.register(stopper.read_fd, select.POLLIN)
        while not stopper.why and not unwanted():
            poll.poll(LOOK_EVERY_S * 1000)
            if run.outcome is not None:
                return True
        return False

    def _end(self, run: _Run, outcome: str) -> None:
        with self._keep.changed:
            del self._runs[run.order.version]
            run.end(outcome)
            run.stopper.close()

    def _run(self, run: _Run) -> None:
        outcome = "stopped"
        try:
            outcome = self._tries(run)
        except Exception as error:  # ours, not the script's: it may be tried again here
            self._say(run, "failed", 0, "the agent failed: %s: %s" % (type(error).__name__, error))
            self._sick("the install %s could not be run: %s" % (run.order.name, error))
            outcome = "failed"
        finally:
            if outcome != "ready":
                site = self._site(run.order.version)
                for path in (site.inputs, site.folder):
                    folder.remove(path)
            self._end(run, outcome)
            if outcome == "stopped":
                self._tell(self.told())

    def _tries(self, run: _Run) -> str:
        order, delay_s, fault = run.order, self._backoff_s, ""
        for number in range(1, TRIES_MAX + 1):
            if number > 1:
                if run.stopper.heard(delay_s):
                    break
                delay_s *= BACKOFF_GROWTH
            while not self._one_at_a_time.acquire(timeout=LOOK_EVERY_S):
                if run.stopper.why:
                    self._forget(order.version)
                    return "stopped"
            try:
                self._say(run, "running", number, fault)
                fault = self._runner.once(
                    self._site(order.version), order.install, order.name, order.shown, number, run.stopper
                )
            finally:
                self._one_at_a_time.release()
            if not fault:
                self._ready(run, number)
                return "ready"
            if run.stopper.why:
                break
        if run.stopper.why:
            self._forget(order.version)
            return "stopped"
        reason = "%s (tried %d times)" % (fault, TRIES_MAX)
        self._say(run, "failed", TRIES_MAX, reason)
        self._sick("an install failed: %s" % reason)
        return "failed"

    def _ready(self, run: _Run, number: int) -> None:
        site, name = self._site(run.order.version), PREFIX + run.order.version
        folder.remove(site.inputs)
        self._note(run, "ready", number, "")
        size_bytes = folder.size(site.top)
        os.sync()  # also what it has done to the rest of the machine
        about = {"bytes": size_bytes, "told": self._told[run.order.version]}
        with open(site.ready + ".new", "w", encoding="utf-8") as file:
            file.write(json.dumps(about))
            file.flush()
            os.fsync(file.fileno())
        os.replace(site.ready + ".new", site.ready)
        for path in (site.top, self._top):
            held = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            os.fsync(held)
            os.close(held)
        self._keep.put(name, self._kept(run.order.version, size_bytes))
        self._keep.limit(PREFIX, COUNT_MAX)
        self._tell(self.told())

    def _say(self, run: _Run, state: str, number: int, reason: str) -> None:
        self._note(run, state, number, reason)
        self._tell(self.told())

    def _note(self, run: _Run, state: str, number: int, reason: str) -> None:
        with self._keep.changed:
            self._told.pop(run.order.version, None)
            self._told[run.order.version] = {
                "version": run.order.version,
                "name": run.order.name,
                "state": state,
                "tries": number,
                "at": round(time.time(), 3),
                "reason": reason[:REASON_MAX],
                "waiting": run.waiting[:WAITING_TOLD_MAX],
            }

    def _forget(self, of_version: str) -> None:
        with self._keep.changed:
            self._told.pop(of_version, None)
