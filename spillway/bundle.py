"""Files and folders addressed by their SHA-256.

A folder becomes a tar.gz whose bytes depend only on names, contents and executable bits: owners, times and the order
of the directory are levelled. So the same tests, packed by two people on two days, are uploaded once.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import stat
import tarfile
from dataclasses import dataclass
from pathlib import Path

from spillway.errors import BadInput

BUNDLE_BYTES_MAX = 512 * 1024 * 1024  # packed in memory; a larger data set belongs in S3, not in a submission
_LEFT_OUT = {"__pycache__", ".git", ".DS_Store"}


@dataclass(frozen=True)
class Bundle:
    """Bytes to upload. `unpack`: a tar.gz that the host unpacks into the input's path."""

    sha256: str
    content: bytes
    unpack: bool


def bundle(path: str | Path) -> Bundle:
    """The upload for a file (as it is) or a folder (packed). Raises BadInput for anything else."""
    try:
        return _bundle(Path(path))
    except OSError as error:
        raise BadInput(f"{error.filename or path} cannot be read: {error.strerror}.") from None


def _bundle(source: Path) -> Bundle:
    if source.is_dir():
        content = pack(source)
    elif source.is_file():
        if source.stat().st_size > BUNDLE_BYTES_MAX:
            raise BadInput(f"{source} is larger than {BUNDLE_BYTES_MAX >> 20} MiB; put it into S3 and fetch it there.")
        content = source.read_bytes()
    else:
        raise BadInput(f"There is no file or folder {source}.")
    return Bundle(hashlib.sha256(content).hexdigest(), content, unpack=source.is_dir())


def pack(folder: Path) -> bytes:
    """The folder's contents as a deterministic tar.gz (names relative to it, without caches and `.git`)."""
    plain = io.BytesIO()
    total = 0
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for entry in _entries(folder):
            relative = entry.relative_to(folder).as_posix()
            info = tarfile.TarInfo(relative)
            info.mtime = 0
            if entry.is_dir():
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(info)
                continue
            if not entry.is_file():
                raise BadInput(f"{entry} is neither a file nor a folder; only those can be uploaded.")
            content = entry.read_bytes()
            total += len(content)
            if total > BUNDLE_BYTES_MAX:
                raise BadInput(f"{folder} holds more than {BUNDLE_BYTES_MAX >> 20} MiB; upload less, or use S3.")
            info.size = len(content)
            info.mode = 0o755 if entry.stat().st_mode & stat.S_IXUSR else 0o644
            archive.addfile(info, io.BytesIO(content))
    return gzip.compress(plain.getvalue(), compresslevel=6, mtime=0)


def _entries(folder: Path) -> list[Path]:
    """Everything below `folder`, parents first, in an order that does not depend on the file system.

    Links to folders are not followed (they may lead in circles); links to files are packed as the file they name.
    """
    found: list[Path] = []
    for entry in sorted(folder.iterdir(), key=lambda p: p.name):
        if entry.name in _LEFT_OUT:
            continue
        if entry.is_symlink() and (entry.is_dir() or not entry.exists()):
            raise BadInput(f"{entry} is a link to a folder or to nothing; copy what it means into {folder}.")
        found.append(entry)
        if entry.is_dir():
            found += _entries(entry)
    return found
