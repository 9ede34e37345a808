"""What is wrong with this host, in sentences: each is told at once, and kept in every `alive` for as long as it lasts.

A host with a problem begins nothing new and finishes what runs; the control plane stops trusting it with the first sentence. So
only what is the host's own fault is a problem. That AWS does not answer is none: it would take all hosts away at the same moment.

Cheap looks (disk, state folder, journal, clock) are taken every few seconds and before each attempt's claim; the sandbox is tried
once a minute. What cannot be looked at again - an attempt's processes that survived, an error of the agent's own - stays.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import Callable

from agent.cache import Cache
from agent.journal import Journal

LOOK_EVERY_S = 5.0
PROBE_EVERY_S = 60.0
PROBE_TRIES = 2  # a busy machine may be slow once
DISK_FREE_MIN_BYTES = 256 << 20
DISK_FREE_MIN_SHARE = 20  # … or a twentieth of the disk, where that is less
INODES_FREE_MIN = 10000
CLOCK_OFF_MAX_S = 120.0


class Health:
    """The problems by kind. `probe` tries the sandbox ("" or why it does not work); `clock_off_s` is how far AWS's clock is ahead."""

    def __init__(
        self,
        state: str,
        journal: Journal,
        cache: Cache,
        probe: Callable[[], str],
        clock_off_s: Callable[[], float],
    ) -> None:
        self._state, self._journal, self._cache = state, journal, cache
        self._probe, self._clock_off_s = probe, clock_off_s
        self._lock = threading.Lock()
        self._problems: dict[str, str] = {}
        self._changed: Callable[[], None] = lambda: None
        self.keep: Callable[[], None] = lambda: None  # what has to be put right again and again

    def start(self, changed: Callable[[], None]) -> None:
        """Look from now on, in a thread; `changed` is called from any thread after a problem came or went."""
        self._changed = changed
        threading.Thread(target=self._run, name="health", daemon=True).start()

    def problems(self) -> list[str]:
        """What is wrong now, the oldest first; empty on a sound host."""
        with self._lock:
            return list(self._problems.values())

    def note(self, kind: str, sentence: str) -> None:
        """Remember a problem, or with "" that it is over. One whose numbers alone have changed keeps its first sentence."""
        with self._lock:
            if bool(sentence) == (kind in self._problems):
                return
            if sentence:
                self._problems[kind] = sentence
            else:
                del self._problems[kind]
        self._changed()

    def look(self) -> list[str]:
        """Take the cheap looks now; what is wrong."""
        self.note("disk", self._disk())
        self.note("state", self._state_folder())
        self.note("journal", self._journal.check())
        self.note("clock", self._clock())
        return self.problems()

    def probe(self) -> str:
        """Try the sandbox now; "" or what is wrong with it."""
        why = ""
        for _ in range(PROBE_TRIES):
            why = self._probe()
            if not why:
                break
        sentence = why and "its sandbox does not work: %s" % why
        self.note("sandbox", sentence)
        return sentence

    def _run(self) -> None:
        probe_at = time.monotonic() + PROBE_EVERY_S
        while True:
            time.sleep(LOOK_EVERY_S)
            try:
                self.look()
                self.keep()
                if time.monotonic() >= probe_at:
                    probe_at = time.monotonic() + PROBE_EVERY_S
                    self.probe()
            except Exception as error:  # a look that fails is no good sign either
                self.note("health", "its health cannot be told: %s: %s" % (type(error).__name__, error))

    def _disk(self) -> str:
        why = short_of(self._state)
        if why and self._cache.keep.make_room():
            why = short_of(self._state)
        return why

    def _state_folder(self) -> str:
        path = "%s/.written-%d" % (self._state, threading.get_ident())
        try:
            with open(path, "w") as file:
                file.write("x")
        except OSError as error:
            return "its state folder cannot be written: %s" % error.strerror
        finally:
            with contextlib.suppress(OSError):
                os.unlink(path)
        return ""

    def _clock(self) -> str:
        off_s = self._clock_off_s()
        if abs(off_s) <= CLOCK_OFF_MAX_S:
            return ""
        return "its clock is %d s %s AWS's" % (abs(off_s), "behind" if off_s > 0 else "ahead of")


def short_of(folder: str) -> str:
    """What the disk under `folder` has too little of, as a sentence; "" when it has enough."""
    try:
        disk = os.statvfs(folder)
    except OSError as error:
        return "its disk cannot be asked: %s" % error.strerror
    free, size = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
    if free < min(DISK_FREE_MIN_BYTES, size // DISK_FREE_MIN_SHARE):
        return "its disk is full: %d of %d MiB are free" % (free >> 20, size >> 20)
    if disk.f_files and disk.f_favail < min(INODES_FREE_MIN, disk.f_files // DISK_FREE_MIN_SHARE):
        return "its disk is full: %d of %d files can still be made" % (disk.f_favail, disk.f_files)
    return ""
