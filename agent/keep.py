"""What a host keeps for later attempts - uploads, installs - under one bound: what was used longest ago goes first.

Each kind has its own names and its own way to remove a thing (`Kept.remove`, called with the lock held); here is only what they share:
the order of use, who holds what, and how much may be kept. The lock is shared too (`changed`), so that nothing can be taken by one
thread while another removes it. What somebody holds is never removed; so the bound may be exceeded by what is in use.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import Callable, Iterable, Iterator, Optional, Tuple

LIMIT_BYTES = 8 << 30
FREE_DISK_SHARE = 3  # at most a third of what would be free if nothing were kept


class Kept:
    """One thing. Compared by identity: the same content, fetched again, is another. `costly`: the one that was used last stays, however
    large it is, until the disk is full: to make it again takes minutes."""

    def __init__(self, size_bytes: int, remove: Callable[[], None], costly: bool = False) -> None:
        self.size_bytes, self.remove, self.costly = size_bytes, remove, costly


class Keep:
    """The things by name. `folder` is on the disk that they fill. Any thread may call anything."""

    def __init__(self, folder: str, limit_bytes: int = LIMIT_BYTES) -> None:
        self.changed = threading.Condition()  # of a lock that its holder may take again
        self._folder, self._limit_bytes = folder, limit_bytes
        self._kept: dict[str, Kept] = {}  # least recently used first
        self._users: dict[str, int] = {}

    def found(self, things: Iterable[Tuple[float, str, Kept]]) -> None:
        """What an earlier agent has left: (when it was last used, its name, itself)."""
        with self.changed:
            for _, name, kept in sorted(things, key=lambda one: one[:2]):
                self._kept[name] = kept

    def get(self, name: str) -> Optional[Kept]:
        """The thing of that name."""
        with self.changed:
            return self._kept.get(name)

    def put(self, name: str, kept: Kept) -> None:
        """It is there, and was used just now."""
        with self.changed:
            self._kept.pop(name, None)
            self._kept[name] = kept

    def drop(self, name: str, kept: Kept) -> None:
        """Forget this very thing; whoever says so has removed it, or knows that it is worth nothing."""
        with self.changed:
            if self._kept.get(name) is kept:
                del self._kept[name]

    def names(self) -> list[str]:
        """All names, the most recently used first."""
        with self.changed:
            return list(reversed(self._kept))

    @contextlib.contextmanager
    def held(self, name: str) -> Iterator[None]:
        """While this lasts, nothing of that name is removed, also what comes meanwhile."""
        with self.changed:
            self._users[name] = self._users.get(name, 0) + 1
        try:
            yield
        finally:
            with self.changed:
                self._users[name] -= 1
                if not self._users[name]:
                    del self._users[name]
                self._trim(self._limit_now(), False)

    def limit(self, prefix: str, count_max: int) -> None:
        """Give up what nobody holds of those whose names begin so, the longest unused first, until no more are kept."""
        with self.changed:
            names = [name for name in self._kept if name.startswith(prefix)]
            for name in [name for name in names if name not in self._users][: max(0, len(names) - count_max)]:
                with contextlib.suppress(OSError):
                    self._kept[name].remove()
                del self._kept[name]

    def make_room(self) -> bool:
        """Give up all that nobody holds; whether that was anything."""
        with self.changed:
            return self._trim(0, True)

    def _limit_now(self) -> int:
        held = sum(kept.size_bytes for kept in self._kept.values())
        try:
            disk = os.statvfs(self._folder)
        except OSError:
            return self._limit_bytes
        return min(self._limit_bytes, (disk.f_bavail * disk.f_frsize + held) // FREE_DISK_SHARE)

    def _trim(self, limit_bytes: int, all_of_it: bool) -> bool:
        """Remove what alone is beyond the limit, then what was used longest ago, until the rest is within it."""
        total = sum(kept.size_bytes for kept in self._kept.values())
        before = total
        spared = None if all_of_it else next((k for k in reversed(list(self._kept.values())) if k.costly), None)
        ordered = sorted(self._kept.items(), key=lambda one: one[1].costly or one[1].size_bytes <= limit_bytes)
        for name, kept in ordered:
            if total <= limit_bytes:
                break
            if name not in self._users and kept is not spared:
                with contextlib.suppress(OSError):
                    kept.remove()
                del self._kept[name]
                total -= kept.size_bytes
        return total < before
