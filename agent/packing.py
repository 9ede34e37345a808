"""A folder that its command is still writing into, as one .tar.gz - exactly as it was at one moment, or not at all.

It is looked at, packed, and looked at again: where anything differs, it is tried again a moment later. Whoever writes under
another name and renames, or asks for a checkpoint and waits, is never in the way.

The command is untrusted and runs while we read with the agent's power. So no path is ever resolved twice: each folder is opened
below the one that holds it, never through a link, and a file is what was opened, not what a name says later.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import stat
from typing import Callable, Iterator, NamedTuple, Sequence

ENTRIES_MAX = 50000
DEPTH_MAX = 60
TRIES_MAX = 4
AGAIN_FIRST_S = 0.25
LEVEL = 1  # the two minutes before an interruption are better spent sending
FREE_BYTES = 512 << 20  # that packing leaves on the host's disk
OPENED = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


class Unkept(Exception):
    """It cannot be packed; the message is the end of a sentence that says why."""


class Look(NamedTuple):
    """What a folder is at a moment: a digest of all names, kinds, sizes and times; how many entries; bytes of its files."""

    digest: str
    entries: int
    bytes: int


class _Entry(NamedTuple):
    path: str
    name: str
    status: os.stat_result
    inside: int  # descriptor of its folder, good until the next entry is asked for


def look(folder: str, only: Sequence[str] = ()) -> Look:
    """Look at it, or at `only` these in it. Raises OSError, and Unkept for what is too deep or too much."""
    digest, count, size = hashlib.sha256(), 0, 0
    for entry in _entries(folder, only):
        status = entry.status
        kind = stat.S_IFMT(status.st_mode)
        if kind not in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
            continue
        count += 1
        facts = [status.st_mode, status.st_ino]
        if kind == stat.S_IFREG:
            size += status.st_size
            facts += [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
        elif kind == stat.S_IFLNK:
            facts += [status.st_mtime_ns]
        digest.update(b"%s\0%s\0" % (os.fsencode(entry.path), repr(facts).encode()))
    return Look(digest.hexdigest(), count, size)


def freeze(
    folder: str,
    target: str,
    limit_bytes: int,
    known: str,
    wait: Callable[[float], bool],
    only: Sequence[str] = (),
) -> Look:
    """Pack it (or `only` these in it) into the new file `target`; what was packed. One that looks like `known`, or is empty, makes no file.

    `wait` waits so long and says whether to give up. Raises Unkept, and OSError for a bad disk.
    """
    again_s = AGAIN_FIRST_S
    for left in range(TRIES_MAX, 0, -1):
        before = look(folder, only)
        if before.digest == known or not before.entries:
            return before
        if before.bytes > limit_bytes:
            raise Unkept(
                "it holds %d MiB, more than the %d of its mib_max" % (-(-before.bytes // (1 << 20)), limit_bytes >> 20)
            )
        disk = os.statvfs(os.path.dirname(target))
        if disk.f_bavail * disk.f_frsize < before.bytes + FREE_BYTES:
            raise Unkept("its host has no room to pack %d MiB" % (before.bytes >> 20))
        try:
            _pack(folder, target, limit_bytes, only)
            if look(folder, only) == before:
                return before
        except BaseException:
            _unlink(target)
            raise
        _unlink(target)
        if left > 1 and wait(again_s):
            break
        again_s *= 2
    raise Unkept("it changed while it was read, each time")


def _unlink(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _entries(folder: str, only: Sequence[str] = ()) -> Iterator[_Entry]:
    root = os.open(folder, OPENED | os.O_DIRECTORY)
    count = 0
    try:
        pending = [""]
        while pending:
            path = pending.pop()
            parts = path.split("/") if path else []
            if len(parts) > DEPTH_MAX:
                raise Unkept("it has folders that are more than %d levels deep" % DEPTH_MAX)
            try:
                inside = _open(root, parts)
            except (FileNotFoundError, NotADirectoryError):
                continue  # it went, or became a link: then the second look finds another folder
            except OSError as error:
                raise Unkept("a folder in it cannot be opened: %s" % error.strerror) from error
            try:
                for name in only if only and not path else _names(inside, ENTRIES_MAX - count + 1):
                    count += 1
                    if count > ENTRIES_MAX:
                        raise Unkept("it has more than %d entries" % ENTRIES_MAX)
                    try:
                        status = os.stat(name, dir_fd=inside, follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    full = path + "/" + name if path else name
                    if stat.S_ISDIR(status.st_mode):
                        pending.append(full)
                    yield _Entry(full, name, status, inside)
            finally:
                os.close(inside)
    finally:
        os.close(root)


def _names(inside: int, count_max: int) -> list[str]:
    """Of the entries of an open folder, sorted; of one that has more, no more than that many: then all is given up anyway."""
    with os.scandir(inside) as found:
        return sorted(entry.name for entry in itertools.islice(found, count_max))


def _open(root: int, parts: Sequence[str]) -> int:
    """The folder below `root`, opened name by name; the caller closes it."""
    held = os.dup(root)
    for part in parts:
        above, held = held, -1
        try:
            held = os.open(part, OPENED | os.O_DIRECTORY, dir_fd=above)
        except OSError as error:
            if error.errno == 40:  # ELOOP: a link
                raise NotADirectoryError(part) from error
            raise
        finally:
            os.close(above)
    return held


def _pack(folder: str, target: str, limit_bytes: int, only: Sequence[str]) -> None:
    import tarfile

    from agent.archive import entry_info, exactly

    left = limit_bytes
    # Names of any bytes go in and come out as they are.
    with tarfile.open(
        target, "x:gz", compresslevel=LEVEL, format=tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape"
    ) as archive:
        for entry in _entries(folder, only):
            kind = stat.S_IFMT(entry.status.st_mode)
            if kind == stat.S_IFDIR:
                archive.addfile(entry_info(entry.path, entry.status, tarfile.DIRTYPE, 0))
            elif kind == stat.S_IFLNK:
                info = entry_info(entry.path, entry.status, tarfile.SYMTYPE, 0)
                with contextlib.suppress(OSError):
                    info.linkname = os.readlink(entry.name, dir_fd=entry.inside)
                    archive.addfile(info)
            elif kind == stat.S_IFREG:
                try:
                    fd = os.open(entry.name, OPENED | os.O_NONBLOCK, dir_fd=entry.inside)
                except OSError:
                    continue  # it went, or became a link
                with os.fdopen(fd, "rb") as file:
                    held = os.fstat(file.fileno())
                    if not stat.S_ISREG(held.st_mode):
                        continue
                    left -= held.st_size
                    if left < 0:
                        raise Unkept("it grew beyond its mib_max while it was read")
                    archive.addfile(
                        entry_info(entry.path, held, tarfile.REGTYPE, held.st_size), exactly(file, held.st_size)
                    )
            archive.members = []  # type: ignore[attr-defined]  # or many tiny files fill our memory
