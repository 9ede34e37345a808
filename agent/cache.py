"""Verified uploads by content, kept for the next attempt that names them: a course's test bundle reaches a host once.

A file is named by its SHA-256 and is only ever copied or unpacked from, never linked to or shown to a command. Nevertheless its
content is hashed again at each use: a machine that lost power keeps names without content, and a pool that runs commands without a
sandbox lets them write wherever the agent can. Hashing costs less than the copy that follows (measured: 1,600 MB/s against 260 to 570).

Who may have what is not decided here: an attempt asks for what its own assignment names.

A download has a temporary name until it is whole. While one attempt fetches a content, others that want it wait for it; those that
merely read it do not wait for each other. An entry is safe from trimming while somebody holds it; so the cache may exceed its
bound by what is in use.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import threading
from typing import Callable, Iterator

LIMIT_BYTES = 1 << 30
FREE_DISK_SHARE = 3  # at most a third of what would be free without the cache
HOLDS_MAX = 32  # told in pings
BLOCK_BYTES = 1 << 20
PART = ".part"


class Entry:
    """One content. Compared by identity: another download of the same content is another entry."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes


class Cache:
    """The contents in `folder`, which need not exist or be writable. Any thread may call anything."""

    def __init__(self, folder: str, limit_bytes: int = LIMIT_BYTES) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._changed = threading.Condition()
        self._entries: dict[str, Entry] = {}  # least recently used first
        self._users: dict[str, int] = {}
        self._fetching: set[str] = set()
        self._read()

    def _read(self) -> None:
        """What an earlier agent has left; it is believed when it is used, not before."""
        found = []
        with contextlib.suppress(OSError), os.scandir(self._folder) as entries:
            for entry in entries:
                if entry.name.endswith(PART):
                    os.unlink(entry.path)
                elif is_sha256(entry.name):
                    status = entry.stat(follow_symlinks=False)
                    found.append((status.st_mtime, entry.name, status.st_size))
        self._entries = {name: Entry(size) for _, name, size in sorted(found)}

    def holds(self) -> list[str]:
        """SHA-256 sums of what is here, the most recently used first, at most 32."""
        with self._changed:
            return list(reversed(self._entries))[:HOLDS_MAX]

    @contextlib.contextmanager
    def hold(self, sha256: str, download: Callable[[str], None]) -> Iterator[str]:
        """The path of a content that is verified now, and stays for as long as it is held.

        What is not here is fetched: `download(path)` writes a new file of that very content, or raises; its exceptions are the caller's.
        """
        with self._changed:
            self._users[sha256] = self._users.get(sha256, 0) + 1
        try:
            path = os.path.join(self._folder, sha256)
            self._provide(sha256, path, download)
            yield path
        finally:
            with self._changed:
                self._users[sha256] -= 1
                if not self._users[sha256]:
                    del self._users[sha256]
                self._trim(self._limit_now())

    def _provide(self, sha256: str, path: str, download: Callable[[str], None]) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: sha256 not in self._fetching)
                entry = self._entries.get(sha256)
                if entry is None:
                    self._fetching.add(sha256)
                    break
            if _digest(path) == sha256:
                self._used_now(sha256, entry, path)
                return
            with self._changed:
                if self._entries.get(sha256) is entry:
                    del self._entries[sha256]
        part = path + PART
        try:
            self._download(part, download)
            os.chmod(part, 0o400)
            entry = Entry(os.path.getsize(part))
            os.replace(part, path)
            self._used_now(sha256, entry, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(part)
            with self._changed:
                self._fetching.discard(sha256)
                self._changed.notify_all()

    def _download(self, part: str, download: Callable[[str], None]) -> None:
        try:
            download(part)
        except OSError as error:
            if error.errno != errno.ENOSPC or not self.make_room():
                raise
            with contextlib.suppress(FileNotFoundError):
                os.unlink(part)
            download(part)

    def _used_now(self, sha256: str, entry: Entry, path: str) -> None:
        with self._changed:
            self._entries.pop(sha256, None)
            self._entries[sha256] = entry
        with contextlib.suppress(OSError):  # so that the order outlives this process
            os.utime(path)

    def make_room(self) -> bool:
        """Give up all that nobody holds; whether that was anything."""
        with self._changed:
            return self._trim(0)

    def _limit_now(self) -> int:
        held = sum(entry.size_bytes for entry in self._entries.values())
        try:
            disk = os.statvfs(self._folder)
        except OSError:
            return self._limit_bytes
        return min(self._limit_bytes, (disk.f_bavail * disk.f_frsize + held) // FREE_DISK_SHARE)

    def _trim(self, limit_bytes: int) -> bool:
        """Remove what alone is beyond the limit, then what was used longest ago, until the rest is within it."""
        total = sum(entry.size_bytes for entry in self._entries.values())
        before = total
        for sha256, entry in sorted(self._entries.items(), key=lambda item: item[1].size_bytes <= limit_bytes):
            if total <= limit_bytes:
                break
            if sha256 not in self._users:
                with contextlib.suppress(OSError):
                    os.unlink(os.path.join(self._folder, sha256))
                del self._entries[sha256]
                total -= entry.size_bytes
        return total < before


def is_sha256(text: str) -> bool:
    """Whether it is a SHA-256 in lower-case hex."""
    return len(text) == 64 and not set(text) - set("0123456789abcdef")


def _digest(path: str) -> str:
    """The SHA-256 of a file's content; "" when it cannot be read to its end."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            for block in iter(lambda: file.read(BLOCK_BYTES), b""):
                digest.update(block)
    except OSError:
        return ""
    return digest.hexdigest()
