"""Verified uploads by content, kept for the next attempt that names them: a course's test bundle reaches a host once.

A file is named by its SHA-256 and is only ever copied or unpacked from, never linked to or shown to a command. Nevertheless its
content is hashed again at each use: a machine that lost power keeps names without content, and a pool that runs commands without a
sandbox lets them write wherever the agent can. Hashing costs less than the copy that follows (measured: 1,600 MB/s against 260 to 570).

Who may have what is not decided here: an attempt asks for what its own assignment names.

A download has a temporary name until it is whole. While one attempt fetches a content, others that want it wait for it; those that
merely read it do not wait for each other. How much is kept, and what goes first, is keep.py's.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from typing import Callable, Iterator, Optional

from agent.keep import LIMIT_BYTES, Keep, Kept

HOLDS_MAX = 32  # told in pings
BLOCK_BYTES = 1 << 20
PART = ".part"


class Cache:
    """The contents in `folder`, which need not exist or be writable. Any thread may call anything. `keep`: what else shares the bound."""

    def __init__(self, folder: str, limit_bytes: int = LIMIT_BYTES, keep: Optional[Keep] = None) -> None:
        self._folder = folder
        self.keep = keep or Keep(folder, limit_bytes)
        self._changed = self.keep.changed
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
                    found.append((status.st_mtime, entry.name, self._entry(entry.name, status.st_size)))
        self.keep.found(found)

    def _entry(self, sha256: str, size_bytes: int) -> Kept:
        return Kept(size_bytes, lambda: os.unlink(os.path.join(self._folder, sha256)))

    def holds(self) -> list[str]:
        """SHA-256 sums of what is here, the most recently used first, at most 32."""
        return [name for name in self.keep.names() if is_sha256(name)][:HOLDS_MAX]

    @contextlib.contextmanager
    def hold(self, sha256: str, download: Callable[[str], None]) -> Iterator[str]:
        """The path of a content that is verified now, and stays for as long as it is held.

        What is not here is fetched: `download(path)` writes a new file of that very content, or raises; its exceptions are the caller's.
        """
        with self.keep.held(sha256):
            path = os.path.join(self._folder, sha256)
            self._provide(sha256, path, download)
            yield path

    def _provide(self, sha256: str, path: str, download: Callable[[str], None]) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: sha256 not in self._fetching)
                entry = self.keep.get(sha256)
                if entry is None:
                    self._fetching.add(sha256)
                    break
            if _digest(path) == sha256:
                self._used_now(sha256, entry, path)
                return
            self.keep.drop(sha256, entry)
        part = path + PART
        try:
            self._download(part, download)
            os.chmod(part, 0o400)
            entry = self._entry(sha256, os.path.getsize(part))
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
            if error.errno != errno.ENOSPC or not self.keep.make_room():
                raise
            with contextlib.suppress(FileNotFoundError):
                os.unlink(part)
            download(part)

    def forget(self) -> None:
        """Somebody has taken away all that was here."""
        for name in self.keep.names():
            entry = self.keep.get(name)
            if entry is not None:
                self.keep.drop(name, entry)

    def _used_now(self, sha256: str, entry: Kept, path: str) -> None:
        self.keep.put(sha256, entry)
        with contextlib.suppress(OSError):  # so that the order outlives this process
            os.utime(path)


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
