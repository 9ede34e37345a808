"""Archives (tar, compressed or not, and zip) are unpacked as if their author wanted to escape.

Nothing lands outside the target folder: names that are absolute or climb are refused, nothing is written through a link, a link
may only point at something inside, and devices, pipes and sockets are refused. Size and number of members are bounded by
counting what is really written, never by what a header says. Owners, set-user-id bits and times are not taken over.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import IO, Any

UNPACKED_MAX_BYTES = 2 << 30
MEMBERS_MAX = 50000
BLOCK_BYTES = 1 << 20
HEADER_MAX_BYTES = 1 << 20  # of what a tar says about one member
HOSTS_FAULT = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)  # the archive is not to blame


class Hostile(Exception):
    """The archive or path may not be used. The message is a sentence that names the member."""


def safe_parts(path: str) -> list[str]:
    """The components of a relative path that stays where it begins; raises Hostile."""
    if path.startswith("/") or "\0" in path:
        raise Hostile("the path %r is not relative" % path)
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Hostile("the path %r climbs out with '..'" % path)
    return parts


def place(folder: str, path: str) -> str:
    """Where `path` is in `folder`, its parents made; raises Hostile when a link leads out or something is in the way."""
    parts = safe_parts(path)
    if not parts:
        raise Hostile("the path %r names no file" % path)
    root = os.path.realpath(folder)
    parent = os.path.join(root, *parts[:-1])
    real = os.path.realpath(parent)
    if real != root and not real.startswith(root + os.sep):
        raise Hostile("the path %r leads out of the folder through a link" % path)
    try:
        os.makedirs(real, exist_ok=True)
        if os.path.islink(os.path.join(real, parts[-1])):
            raise Hostile("the path %r is a link already" % path)
    except (FileExistsError, NotADirectoryError):
        raise Hostile("the path %r needs a folder where there is a file" % path) from None
    except OSError as error:
        raise Hostile("the path %r cannot be made: %s" % (path, error.strerror)) from error
    return os.path.join(real, parts[-1])


def _careful() -> Any:
    """tarfile's header, without what makes it read at once whatever an archive says: a few hundred kilobytes would fill our memory."""
    import tarfile

    large = (
        tarfile.XHDTYPE,
        tarfile.XGLTYPE,
        tarfile.SOLARIS_XHDTYPE,
        tarfile.GNUTYPE_LONGNAME,
        tarfile.GNUTYPE_LONGLINK,
    )

    class Header(tarfile.TarInfo):
        def _proc_member(self, tar: Any) -> Any:
            if self.type in large and self.size > HEADER_MAX_BYTES:
                raise Hostile("the archive has a header of %d bytes" % self.size)
            return super()._proc_member(tar)  # type: ignore[misc]

        def _proc_sparse(self, *_: Any) -> Any:
            raise Hostile("the archive's member %r is a sparse file" % self.name)

        _proc_gnusparse_10 = _proc_sparse  # a map without end, in blocks that follow the header

    return Header


class _Budget:
    def __init__(self, bytes_max: int, members_max: int) -> None:
        self._bytes, self._members = bytes_max, members_max
        self._bytes_max, self._members_max = bytes_max, members_max

    def member(self) -> None:
        self._members -= 1
        if self._members < 0:
            raise Hostile("the archive has more than %d members" % self._members_max)

    def copy(self, source: IO[bytes], target: str, mode: int) -> None:
        if os.path.isdir(target):
            raise Hostile("the archive has a file where there is a folder: %r" % os.path.basename(target))
        with open(target, "wb") as file:
            while True:
                block = source.read(BLOCK_BYTES)
                if not block:
                    break
                self._bytes -= len(block)
                if self._bytes < 0:
                    raise Hostile("the archive unpacks to more than %d bytes" % self._bytes_max)
                file.write(block)
        os.chmod(target, (mode & 0o755) | 0o600)


def _link(folder: str, name: str, target: str) -> None:
    path = place(folder, name)
    if target.startswith("/") or os.path.lexists(path):
        raise Hostile("the link %r points to %r" % (name, target))
    _inside(folder, os.path.join(os.path.dirname(path), target), name)
    os.symlink(target, path)


def _inside(folder: str, path: str, name: str) -> None:
    root = os.path.realpath(folder)
    real = os.path.realpath(path)
    if real != root and not real.startswith(root + os.sep):
        raise Hostile("the link %r leads out of the folder" % name)


def unpack(
    archive: str,
    folder: str,
    bytes_max: int = UNPACKED_MAX_BYTES,
    members_max: int = MEMBERS_MAX,
    any_links: bool = False,
) -> None:
    """Unpack the file `archive` into the existing `folder`. Raises Hostile, also for what is no archive, and OSError for a bad disk.

    `any_links`: links lead wherever they say, as the command that gets the folder could make them; they are made last, so nothing is
    ever written through one.
    """
    budget = _Budget(bytes_max, members_max)
    links: list[tuple[str, str]] = []
    with open(archive, "rb") as file:
        head = file.read(4)
    try:
        if head[:2] == b"PK":
            _zip(archive, folder, budget, links)
        else:
            _tar(archive, folder, budget, links, any_links)
    except Hostile:
        raise
    except (OSError, EOFError, ValueError, RuntimeError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno in HOSTS_FAULT:
            raise
        raise Hostile("the archive cannot be unpacked: %s" % error) from error
    except Exception as error:  # tarfile, zipfile, zlib and lzma each have their own
        raise Hostile("the archive is damaged: %s" % error) from error
    for name, path in () if any_links else links:
        _inside(folder, path, name)  # again at the end: a link may have changed its meaning by what came later


def _tar(archive: str, folder: str, budget: _Budget, links: list[tuple[str, str]], any_links: bool) -> None:
    import tarfile

    later: list[tuple[str, str]] = []
    with tarfile.open(archive, "r|*", tarinfo=_careful()) as tar:
        for member in tar:
            budget.member()
            tar.members = []  # type: ignore[attr-defined]  # or a million tiny members fill our memory
            if not safe_parts(member.name):
                if not member.isdir():
                    raise Hostile("the archive's member %r names no file" % member.name)
            elif member.isdir():
                os.makedirs(place(folder, member.name), exist_ok=True)
            elif member.issym() and any_links:
                later.append((member.name, member.linkname))
            elif member.issym():
                _link(folder, member.name, member.linkname)
                links.append((member.name, os.path.join(folder, member.name)))
            elif member.islnk():
                original = place(folder, member.linkname)
                if not stat.S_ISREG(os.lstat(original).st_mode):
                    raise Hostile("the archive's hard link %r is to no file" % member.name)
                with open(original, "rb") as source:
                    budget.copy(source, place(folder, member.name), os.lstat(original).st_mode)
            elif member.isreg():
                content: Any = tar.extractfile(member)
                budget.copy(content, place(folder, member.name), member.mode)
            else:
                raise Hostile("the archive's member %r is neither file, folder nor link" % member.name)
    for name, target in later:
        path = place(folder, name)
        if os.path.lexists(path):
            raise Hostile("the link %r has another's name" % name)
        os.symlink(target, path)


def _zip(archive: str, folder: str, budget: _Budget, links: list[tuple[str, str]]) -> None:
    import zipfile

    with zipfile.ZipFile(archive) as file:
        if len(file.infolist()) > MEMBERS_MAX:
            raise Hostile("the archive has more than %d members" % MEMBERS_MAX)
        for member in file.infolist():
            budget.member()
            mode = member.external_attr >> 16
            if member.is_dir():
                if safe_parts(member.filename):
                    os.makedirs(place(folder, member.filename), exist_ok=True)
            elif stat.S_ISLNK(mode):
                _link(folder, member.filename, file.read(member).decode() if member.file_size < 4096 else "/")
                links.append((member.filename, os.path.join(folder, member.filename)))
            elif stat.S_IFMT(mode) in (0, stat.S_IFREG):
                with file.open(member) as content:
                    budget.copy(content, place(folder, member.filename), mode or 0o644)
            else:
                raise Hostile("the archive's member %r is neither file, folder nor link" % member.filename)
