"""Where an attempt's log and outputs are, and a piece of the log from any byte on, while it runs and after."""

from __future__ import annotations

from dataclasses import dataclass, replace

from chalicelib.core.host import Host
from chalicelib.core.installs import RUNNING
from chalicelib.core.job import Job, JobState
from chalicelib.errors import NotFound
from chalicelib.wiring import Plane

PIECE_BYTES_MAX = 262_144
WHOLE_MAX = 8 << 20  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """The bytes from `start` up to `upto` of a log, as text; `complete`: no more can come after it."""

    start: int
    upto: int
    text: str
    complete: bool
    cut: bool


def _prefix(job: Job) -> str:
    return f"hosts/{job.userid}/{job.id}/{job.attempt}"


def output_key(job: Job, path: str) -> str:
    """The key of an output in the bucket."""
    return f"{_prefix(job)}/out/{path}"


def read(plane: Plane, job: Job, start: int, rank: int | None = None) -> Piece:
    """At most 256 KiB from byte `start` on. `rank`: of which of a gang's members; None: of who speaks for the job. Raises NotFound."""
    if rank is not None:
        job = _of_member(plane, job, rank)
    log = job.finish.log if job.finish and job.ended else None
    if log is not None and log.text is not None:
        data = log.text.encode()[start:]
    elif job.userid is not None:
        data = _from_chunks(plane, job, start)
    else:
        data = b""
    piece = data[:PIECE_BYTES_MAX]
    upto = start + len(piece)
    whole = (len(log.text.encode()) if log.text is not None else log.bytes) if log is not None else 0
    return Piece(
        start=start,
        upto=upto,
        text=piece.decode("utf-8", "replace"),
        complete=job.ended and (upto >= whole or not piece),
        cut=log.cut if log is not None else False,
    )


def _of_member(plane: Plane, job: Job, rank: int) -> Job:
    """The job as if that member were all of it."""
    if rank >= len(job.members):
        raise NotFound(f"{job.id} has no rank {rank}: its last attempt had {len(job.members)} hosts with ranks")
    end, host = job.ends.get(rank), plane.stores.hosts.get(job.pool, job.members[rank])
    userid = end.userid if end is not None and end.userid else host.userid if host is not None else None
    if end is None or end.finish is None:
        return replace(job, userid=userid, finish=None)
    return replace(
        job, userid=userid, finish=end.finish, state=JobState.SUCCEEDED
    )  # any that is final: its log is complete


def of_install(plane: Plane, host: Host, version: str, start: int) -> Piece:
    """What an install has printed on a host, all its tries; at most 256 KiB from byte `start` on. It comes some seconds late."""
    data = plane.cloud.blobs.get(f"hosts/{host.userid}/install/{version}/log", start) or b""
    piece = data[:PIECE_BYTES_MAX]
    runs = any(one.version == version and one.state == RUNNING for one in host.installs)
    return Piece(
        start=start,
        upto=start + len(piece),
        text=piece.decode("utf-8", "replace"),
        complete=not runs and len(piece) == len(data),
        cut=False,
    )


def whole(plane: Plane, job: Job) -> bytes:
    """All of it that was kept."""
    text, at = "", 0
    while len(text) < WHOLE_MAX:
        piece = read(plane, job, at)
        text += piece.text
        if piece.complete or piece.upto == at:
            break
        at = piece.upto
    return text.encode()


def _from_chunks(plane: Plane, job: Job, start: int) -> bytes:
    """Chunks are named by the offset of their first byte: find those that hold `start` and what follows."""
    prefix = f"{_prefix(job)}/log/"
    chunks = [(int(key.removeprefix(prefix)), key, size) for key, size in plane.cloud.blobs.list(prefix)]
    data = b""
    for offset, key, size in chunks:
        if offset + size <= start or len(data) >= PIECE_BYTES_MAX:
            continue
        if offset > start + len(data):
            break  # a chunk is missing: give what is whole
        data += plane.cloud.blobs.get(key, start + len(data) - offset) or b""
    return data
