"""What a cloud that was killed leaves behind: its children, written down while it lived.

A watcher notes pid and start time of every descendant in `DIR/children.json`. Whoever finds that file later ends those
that are still the same process, and no other.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from pathlib import Path

import psutil

CHILDREN = "children.json"
LOOK_EVERY_S = 1.0
START_TOLERANCE_S = 0.05  # psutil computes start times from the boot time, which it rounds

log = logging.getLogger("localcloud.orphans")


def same_process(pid: int, started: float) -> psutil.Process | None:
    """The live process with this pid and start time (epoch seconds); None for any other."""
    try:
        process = psutil.Process(pid)
        if abs(process.create_time() - started) > START_TOLERANCE_S or process.status() == psutil.STATUS_ZOMBIE:
            return None
    except psutil.Error:
        return None
    return process


def end_recorded(state_dir: Path) -> int:
    """Kill what a former cloud of this folder left running; how many processes that were."""
    path = state_dir / CHILDREN
    try:
        recorded = [(int(pid), float(started)) for pid, started in json.loads(path.read_text())]
    except (OSError, ValueError, TypeError):
        return 0
    found = [process for pid, started in recorded if (process := same_process(pid, started)) is not None]
    for process in found:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(found, timeout=5)
    if found:
        log.warning("ended what a former cloud left running processes=%d", len(found))
    path.unlink(missing_ok=True)
    return len(found)


class ChildWatch:
    """Keeps children.json while the cloud runs."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / CHILDREN
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="child-watch", daemon=True)
        self._known: dict[int, float] = {}

    def start(self) -> None:
        """Note the children there are from now on."""
        self._thread.start()

    def stop(self) -> None:
        """End every descendant that is still there, and the note with them."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(2)
        self.look()
        end_recorded(self._path.parent)

    def look(self) -> None:
        """Note the descendants now; those noted before stay as long as they live, whoever adopted them."""
        seen: dict[int, float] = {}
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    seen[child.pid] = child.create_time()
        for pid, started in self._known.items():
            if pid not in seen and same_process(pid, started) is not None:
                seen[pid] = started
        if seen != self._known:
            self._known = seen
            temporary = self._path.with_suffix(".tmp")
            temporary.write_text(json.dumps(sorted(seen.items())))
            temporary.replace(self._path)

    def _watch(self) -> None:
        while not self._ended.wait(LOOK_EVERY_S):
            try:
                self.look()
            except OSError as error:
                log.warning("children are not noted why=%s", error)
