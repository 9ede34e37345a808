"""When what of an attempt is kept, and which is saved first.

One thread saves for all attempts of a host, one at a time: the network is shared anyway, and so only one archive at a time needs
room on the disk. What is due is decided by `first`: by the clock, while nothing presses; the largest first, when EC2 takes the
machine back, since it has the most to lose and needs the longest.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING, Iterable, NamedTuple, Optional

if TYPE_CHECKING:
    from agent.keeping import Keeping

WRITE_S = 10.0  # that a command has, after it was warned, to write what is to be kept
WRITE_SHARE = 4  # … at most a quarter of what is left
AGAIN_S = 15.0  # what an interrupted attempt writes after that is saved so often
FAILED_AGAIN_S = 30.0
ASKED_EVERY_S = 2.0  # it may ask all the time: it is saved so often
NEVER = float("inf")


class Wish(NamedTuple):
    """An attempt that wants to be saved at `due_at`. `bytes` of its folder, as far as they are known."""

    key: str
    due_at: float
    bytes: int = 0
    interrupted: bool = False


def first(wishes: Iterable[Wish], now: float) -> Optional[str]:
    """Whom to save now; None: nobody yet."""
    due = [wish for wish in wishes if wish.due_at <= now]
    if not due:
        return None
    return min(due, key=lambda w: (not w.interrupted, -w.bytes if w.interrupted else w.due_at, w.key)).key


def warned(now: float, left_s: float) -> float:
    """By when a command that was just warned has had its time to write; `left_s` until EC2 takes the machine."""
    return now + min(WRITE_S, max(0.0, left_s) / WRITE_SHARE)


def following(now: float, interval_s: float, *, interrupted: bool, failed: bool) -> float:
    """When to save next, after a try at `now`."""
    return now + min(interval_s, AGAIN_S if interrupted else NEVER, FAILED_AGAIN_S if failed else NEVER)


def asked(now: float, last_at: float) -> float:
    """When to save, after the command asked for it."""
    return max(now, last_at + ASKED_EVERY_S)


def worth_it(killed: str, exit_code: Optional[int]) -> bool:
    """Whether a command that has ended like this may be continued by another attempt."""
    return killed != "cancel" and (bool(killed) or exit_code != 0)


class Saver:
    """`folder` is where archives are made before they are sent; it belongs to nobody else."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._changed = threading.Condition()
        self._kept: dict[str, "Keeping"] = {}
        self._thread: Optional[threading.Thread] = None
        with contextlib.suppress(OSError):  # an agent that did not live to send it
            for name in os.listdir(folder):
                os.unlink(os.path.join(folder, name))

    def add(self, keeping: "Keeping") -> None:
        """Save it whenever it is due."""
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        with self._changed:
            self._kept[keeping.key] = keeping
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)
                self._thread.start()
        self.wake()

    def remove(self, keeping: "Keeping") -> None:
        """Save it no more; one that is being saved goes on."""
        with self._changed:
            self._kept.pop(keeping.key, None)

    def wake(self) -> None:
        """Somebody's time has changed."""
        with self._changed:
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                now = time.monotonic()
                wishes = [keeping.wish for keeping in self._kept.values()]
                key = first(wishes, now)
                if key is None:
                    until = min((wish.due_at for wish in wishes), default=NEVER)
                    self._changed.wait(None if until == NEVER else max(0.0, until - now))
                    continue
                keeping = self._kept[key]
            keeping.save()
