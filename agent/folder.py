"""Folders that untrusted code has filled: measured, handed over, listed and removed.

Their author decides how deep they are, how long their paths are and which modes they have. So nothing here recurses (Python's own
`os.walk` and `shutil.rmtree` do, and give up a thousand levels down), nothing follows a link, and what cannot be looked into
is told instead of passed over.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import stat
import time
from typing import Callable, Iterable, Iterator

LOOK_SHARE = 0.02  # of the time may go into measuring
LOOK_EVERY_S = 1.0
FILES_MAX = 200000
OPEN_FILES_MAX = 20000
DEPTH_MAX = 200
AT_ONCE = 2000  # entries of one folder: their author may make more than our memory holds


def walk(folder: str) -> Iterator[tuple[str, list["os.DirEntry[str]"]]]:
    """Each folder below (and with) `folder` that can be opened, its entries sorted by name, parents first. One with more than AT_ONCE
    entries comes several times, with so many of them each time.

    Raises OSError (ENAMETOOLONG) at the first that is too deep to be named.
    """
    pending = [folder]
    while pending:
        path = pending.pop()
        try:
            opened = os.scandir(path)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise
            yield path, []
            continue
        with opened as found:
            while True:
                entries = sorted(itertools.islice(found, AT_ONCE), key=lambda entry: entry.name)
                yield path, entries
                pending += [entry.path for entry in reversed(entries) if entry.is_dir(follow_symlinks=False)]
                if len(entries) < AT_ONCE:
                    break


def is_deep(folder: str) -> bool:
    """Whether there are more than DEPTH_MAX folders in each other, at which what recurses would give up."""
    above = folder.count("/")
    try:
        return any(path.count("/") - above > DEPTH_MAX for path, _ in walk(folder))
    except OSError:  # a path too long to be named
        return True


def exceeds(folder: str, limit_bytes: int) -> bool:
    """Whether it holds more bytes, absurdly many files, or folders too deep to be looked into."""
    total = files = 0
    pending = [folder]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    with contextlib.suppress(FileNotFoundError):
                        status = entry.stat(follow_symlinks=False)
                        total += status.st_blocks * 512
                        files += 1
                        if stat.S_ISDIR(status.st_mode):
                            pending.append(entry.path)
                    if total > limit_bytes or files > FILES_MAX:
                        return True
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                return True
    return False


def size(folder: str) -> int:
    """Bytes of disk that it takes."""
    return sum(entry.stat(follow_symlinks=False).st_blocks * 512 for _, entries in walk(folder) for entry in entries)


def of_size(folder: str, size: int) -> str:
    """The first file of exactly so many bytes, by its path in `folder`; "" where there is none, or too many to look at."""
    looked = 0
    with contextlib.suppress(OSError):
        for path, entries in walk(folder):
            for entry in entries:
                looked += 1
                with contextlib.suppress(OSError):
                    if entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_size == size:
                        return os.path.relpath(entry.path, folder)
            if looked > FILES_MAX or path.count("/") > DEPTH_MAX:
                break
    return ""


def hidden_bytes(pids: Iterable[int], device: int) -> int:
    """What `pids` hold open or mapped on `device` in files that have no name any more, which no listing shows."""
    seen: dict[int, int] = {}
    looked = 0
    for pid in pids:
        for kind in ("fd", "map_files"):
            with contextlib.suppress(OSError):
                for name in os.listdir("/proc/%d/%s" % (pid, kind)):
                    looked += 1
                    if looked > OPEN_FILES_MAX:
                        return sum(seen.values())
                    with contextlib.suppress(OSError):
                        status = os.stat("/proc/%d/%s/%s" % (pid, kind, name))
                        if status.st_dev == device and status.st_nlink == 0:
                            seen[status.st_ino] = status.st_blocks * 512
    return sum(seen.values())


class Watch:
    """Says whether `folder`, with what `pids` hope to hide, has outgrown its limit; looks the more seldom the longer a look takes."""

    def __init__(self, folder: str, limit_bytes: int, pids: Callable[[], Iterable[int]]) -> None:
        self._folder, self._limit, self._pids = folder, limit_bytes, pids
        self._device = os.stat(folder).st_dev
        self._next = time.monotonic() + LOOK_EVERY_S

    def __call__(self) -> bool:
        now = time.monotonic()
        if now < self._next:
            return False
        full = exceeds(self._folder, self._limit - hidden_bytes(self._pids(), self._device))
        spent = time.monotonic() - now
        self._next = now + max(LOOK_EVERY_S, spent / LOOK_SHARE)
        return full


def give(folder: str, uid: int) -> None:
    """Hand the folder's `work`, `tmp` and `checkpoint` to the attempt's own user; nobody else may look inside. Raises OSError."""
    os.chmod(folder, 0o711)
    for name in ("work", "tmp", "checkpoint"):
        top = os.path.join(folder, name)
        if name == "checkpoint" and not os.path.isdir(top):
            continue
        for parent, entries in walk(top):
            os.lchown(parent, uid, uid)
            for entry in entries:
                os.lchown(entry.path, uid, uid)
        os.chmod(top, 0o700)


def put(folder: str, name: str, text: str) -> None:
    """Put a file that all may read into a folder that untrusted code owns, whole or not at all, following no link. Raises OSError."""
    inside = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    draft = ".%s-%s" % (name, os.urandom(4).hex())
    try:
        written = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644, dir_fd=inside)
        try:
            os.write(written, text.encode())
            os.fchmod(written, 0o644)
        finally:
            os.close(written)
        os.rename(draft, name, src_dir_fd=inside, dst_dir_fd=inside)
    finally:
        os.close(inside)


def remove(folder: str) -> None:
    """Remove it with all that is in it, whatever its modes and however deep; what cannot be removed stays.

    Each folder inside is first moved up to the top, so that no path grows long.
    """
    with contextlib.suppress(OSError):
        os.chmod(folder, 0o700)
    pending, emptied, moved = [folder], [], 0
    mark = ".removed-%s-" % os.urandom(4).hex()  # what an earlier try left has another
    while pending:
        path = pending.pop()
        emptied.append(path)
        left = True
        while left:  # what is taken away while a folder is read may hide something from this reading
            left = False
            with contextlib.suppress(OSError), os.scandir(path) as entries:
                for entry in entries:  # never as a list: there may be more than our memory holds
                    if path == folder and entry.name.startswith(mark):
                        continue
                    with contextlib.suppress(OSError):
                        if not entry.is_dir(follow_symlinks=False):
                            os.unlink(entry.path)
                            left = True
                            continue
                        os.chmod(entry.path, 0o700)
                        moved += 1
                        top = os.path.join(folder, mark + str(moved))
                        os.rename(entry.path, top)
                        pending.append(top)
                        left = True
    for path in reversed(emptied):
        with contextlib.suppress(OSError):
            os.rmdir(path)
