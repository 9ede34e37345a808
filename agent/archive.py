"""The whole work folder as one .tar.gz, as an attempt left it: files, folders and links; what is neither is left out.

Its author is untrusted: nothing is followed, nothing recurses, and a file may change, grow or vanish while it is read.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tarfile
from typing import IO, BinaryIO

from agent.folder import walk

NAME = "archive.tar.gz"
ENTRIES_MAX = 100000
LEVEL = 6


def pack(work: str, path: str, limit_bytes: int) -> tuple[int, str]:
    """Write the new file `path`; its size, and a sentence when something was left out. Raises OSError."""
    problem, entries, left = "", 0, limit_bytes
    with tarfile.open(path, "x:gz", compresslevel=LEVEL, format=tarfile.PAX_FORMAT) as archive:
        try:
            for parent, found in walk(work):
                for entry in found:
                    entries += 1
                    if entries > ENTRIES_MAX or left < 0:
                        return _size(archive, path), "the archive is not whole: the work folder holds too much"
                    name = os.path.join(parent, entry.name)[len(work) + 1 :]
                    archive.members = []  # type: ignore[attr-defined]  # or many tiny files fill our memory
                    try:
                        left -= _add(archive, entry.path, name)
                    except (OSError, ValueError, UnicodeError) as error:
                        problem = problem or "%r is not in the archive: %s" % (name[:200], error)
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            problem = problem or "the archive is not whole: a path is too long"
    return os.path.getsize(path), problem


def _size(archive: tarfile.TarFile, path: str) -> int:
    archive.close()
    return os.path.getsize(path)


def _add(archive: tarfile.TarFile, path: str, name: str) -> int:
    """Add one entry, and how many bytes it holds."""
    name.encode()
    status = os.lstat(path)
    if stat.S_ISREG(status.st_mode):
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            held = os.fstat(file.fileno())
            if not stat.S_ISREG(held.st_mode):
                return 0
            archive.addfile(entry_info(name, held, tarfile.REGTYPE, held.st_size), exactly(file, held.st_size))
            return held.st_size
    if stat.S_ISDIR(status.st_mode):
        archive.addfile(entry_info(name, status, tarfile.DIRTYPE, 0))
    elif stat.S_ISLNK(status.st_mode):
        info = entry_info(name, status, tarfile.SYMTYPE, 0)
        info.linkname = os.readlink(path)
        info.linkname.encode()
        archive.addfile(info)
    return 0


def entry_info(name: str, status: os.stat_result, kind: bytes, size: int) -> tarfile.TarInfo:
    """What an archive says of an entry: neither owner nor anything that gives power."""
    info = tarfile.TarInfo(name)
    info.type, info.size, info.mode, info.mtime = kind, size, stat.S_IMODE(status.st_mode) & 0o777, int(status.st_mtime)
    return info


def exactly(file: BinaryIO, size: int) -> IO[bytes]:
    """`file` as an archive reads it: as many bytes as the entry's header says, whatever becomes of it."""
    return _Exactly(file, size)  # type: ignore[return-value]  # nothing but `read` is called


class _Exactly:
    """As many bytes as the entry's header says, whatever becomes of the file: zeros where it has shrunk."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._left = file, size

    def read(self, size: int) -> bytes:
        """The next `size` bytes."""
        size = min(size, self._left)
        block = b""
        with contextlib.suppress(OSError):
            block = self._file.read(size)
        self._left -= size
        return block + b"\0" * (size - len(block))
