"""What a user asks for: one job, complete, as it is kept on the job's row. Never changes after submission.

What it needs of the world (uploads, S3 objects, secrets, git sources) is only named here; values and signed URLs are made at hand-over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class RetryOn(StrEnum):
    """What of an attempt's end is worth another attempt, where `max_attempts` allows one. `exit:75` is that one exit code."""

    INFRASTRUCTURE = "infrastructure"
    INTERRUPTION = "interruption"
    TIMEOUT = "timeout"
    FAILURE = "failure"  # any exit code but 0, any signal


RETRY_ON = (RetryOn.INFRASTRUCTURE, RetryOn.INTERRUPTION, RetryOn.TIMEOUT, RetryOn.FAILURE)


FOLDER = "/job"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """What an attempt takes of a host while it is there. cpu in cores, memory in MiB."""

    cpu: float = 1.0
    memory_mib: int = 512
    slots: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class GitSource:
    """A repository, cloned by the host's agent. `token`: the name of a secret (`ssm:…`, `secretsmanager:…`) that opens it."""

    url: str
    branch: str = ""
    token: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """A file or folder placed into the work folder, of exactly one kind: an upload by its SHA-256, an S3 object (`s3://bucket/key`) -
    either is unpacked if it is an archive and `unpack` says so -, a short text, or a repository."""

    path: str
    sha256: str | None = None
    s3: str | None = None
    unpack: bool = False
    text: str | None = None
    git: GitSource | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Files to keep: those that match `glob` in the work folder. `name`: what the answer calls them; empty: nothing but their paths."""

    glob: str
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notify:
    """Who is told when the job has ended: a webhook (HTTPS POST of the Job document), the notices topic (`job_finished`), or both."""

    webhook: str | None = None
    topic: bool = False

    @property
    def listeners(self) -> tuple[str, ...]:
        """`webhook`, `topic`."""
        wanted = (("webhook", bool(self.webhook)), ("topic", self.topic))
        return tuple(name for name, wants in wanted if wants)


class Adapter(StrEnum):
    """Which grader's conventions an attempt is run by: where its files lie, what is called, and how its results are read."""

    COMMAND = "command"
    GRADESCOPE = "gradescope"
    PRAIRIELEARN = "prairielearn"
    COURSERA = "coursera"


INSTALL_TIMEOUT_S = 360


@dataclass(frozen=True, slots=True, kw_only=True)
class Install:
    """What is run once on each host and for each version of it, as the host's own user, before the first attempt that names it.

    `script`: a shell script's text; or `path`: a script among the inputs, which are then all there. Its version is the digest of the
    text and of the inputs that it is run with.
    """

    script: str = ""
    path: str = ""
    timeout_s: int = INSTALL_TIMEOUT_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What an attempt leaves for the one after it. `by` "files": what it writes into $SPILLWAY_CHECKPOINT_DIR; "criu": its processes."""

    interval_s: int = 300
    by: str = "files"  # files | criu
    mib_max: int = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """What the user asked for: defaults, and those of its family, are filled in."""

    command: str
    timeout_s: int
    pool: str = "default"
    family: str | None = None
    family_version: int | None = None  # the version of the family that the defaults were taken from
    parameters: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    cpu: float = 1.0
    memory_mib: int = 512
    disk_mib: int = 2048
    slots: int = 1
    instance_types: tuple[str, ...] = ()  # patterns ("c7i.*"); empty: any of the pool's
    market: str | None = None  # spot | on_demand; None: either
    priority: int = 5
    queue_ttl_s: int | None = None  # skipped when it has waited for so long
    not_before: float | None = None
    after: tuple[str, ...] = ()  # ids of jobs and arrays that must have ended
    after_on: str = "success"  # success | finish
    max_attempts: int = 1
    retry_on: tuple[str, ...] = RETRY_ON
    network: bool = False
    untrusted: bool = True
    image: str | None = None  # of a container
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)  # variable → `ssm:NAME` | `secretsmanager:NAME`
    inputs: tuple[Input, ...] = ()
    outputs: tuple[Wanted, ...] = ()
    result: str | None = None
    folder: str = FOLDER  # where the command finds its work folder
    archive: bool = False  # keep the whole work folder as it is at the end, as the output archive.tar.gz
    cpu_s: int | None = None  # of all its processes together; None: as much as fits into its time
    output_mib: int = 1024  # what it may print; more of it than the pool's log limit is cut, more than this ends it
    file_mib: int | None = None  # of any one file; None: as much as `disk_mib`
    processes_max: int | None = None  # at a time; None: as the pool's hosts have it
    adapter: str = Adapter.COMMAND
    install: Install | None = None
    checkpoint: Checkpoint | None = None
    stall_s: int | None = None  # an attempt that tells no progress for so long is an alarm
    hosts: int = 1  # so many at once, each with its rank: all of them or none
    labels: Mapping[str, str] = field(default_factory=dict)
    notify: Notify | None = None
    idempotency_key: str | None = None

    @property
    def reservation(self) -> Reservation:
        return Reservation(cpu=self.cpu, memory_mib=self.memory_mib, slots=self.slots)

    @property
    def needs_inbox(self) -> bool:
        """Whether it takes something that user data must not hold: signed addresses, values of secrets."""
        named = any(
            i.sha256 is not None or i.s3 is not None or (i.git is not None and i.git.token) for i in self.inputs
        )
        return named or bool(self.secrets)

    @property
    def uploads(self) -> frozenset[str]:
        """The SHA-256 sums of the uploads it needs."""
        return frozenset(i.sha256 for i in self.inputs if i.sha256 is not None)
