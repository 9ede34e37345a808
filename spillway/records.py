"""What the API answers, as frozen records. Fields that a newer server adds are ignored; times are epoch seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

FINAL_STATES = frozenset({"succeeded", "failed", "timed_out", "cancelled", "lost", "skipped"})


class _Wire:
    """Reads itself from a JSON object: known fields by name, the rest ignored."""

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        known = {f.name for f in fields(cls)}  # type: ignore[arg-type]  # every subclass is a dataclass
        return cls(**{k: v for k, v in document.items() if k in known})


@dataclass(frozen=True)
class Job(_Wire):
    """One job as the control plane knows it now. `reason` and `waiting_for` are sentences for people."""

    id: str
    pool: str
    state: str
    owner: str | None = None
    name: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    attempt: int = 0
    reason: str | None = None
    waiting_for: str | None = None
    cancel_requested: bool = False
    submitted_at: float | None = None
    assigned_at: float | None = None
    started_at: float | None = None
    finished_at: float | None = None
    delivered_at: float | None = None
    priority: int | None = None
    retry_of: str | None = None
    expected_wait_s: float | None = None
    schedule: str | None = None
    host: str | None = None
    exit_code: int | None = None
    cause: str = ""
    result: Any = None
    outputs: list[dict[str, Any]] = field(default_factory=list)
    log: Mapping[str, Any] | None = None
    cpu_s: float | None = None
    memory_peak_mib: float | None = None
    image_digest: str | None = None
    progress: Mapping[str, Any] | None = None
    checkpoint: Mapping[str, Any] | None = None
    members: list[dict[str, Any]] = field(default_factory=list)
    spec: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """It is in a final state: nothing about it changes any more."""
        return self.state in FINAL_STATES

    @property
    def succeeded(self) -> bool:
        """Its command ended with exit code 0."""
        return self.state == "succeeded"


@dataclass(frozen=True)
class Array(_Wire):
    """Many like jobs as one thing. `counts`: final state, "placed" or "waiting" → how many elements."""

    id: str
    pool: str
    state: str
    count: int
    counts: Mapping[str, int] = field(default_factory=dict)
    owner: str | None = None
    name: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    reason: str | None = None
    waiting_for: str | None = None
    cancel_requested: bool = False
    submitted_at: float | None = None
    ended_at: float | None = None
    spec: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Every element has ended, or never will begin."""
        return self.state in FINAL_STATES

    @property
    def succeeded(self) -> bool:
        """All elements did."""
        return self.state == "succeeded"


@dataclass(frozen=True)
class Element(_Wire):
    """One element of an array; `id` is that of its job."""

    index: int
    id: str
    state: str
    attempt: int = 0
    reason: str | None = None
    host: str | None = None
    started_at: float | None = None
    finished_at: float | None = None
    exit_code: int | None = None
    result: Any = None


@dataclass(frozen=True)
class Bulk(_Wire):
    """What came of doing the same to many jobs: `count` match; `done` are the ids of what came of them, None where they were only
    counted; `left`: for how many there was no time; `more`: there are more than one request takes."""

    action: str
    count: int
    more: bool = False
    jobs: list[str] = field(default_factory=list)
    done: list[str] | None = None
    failed: list[dict[str, Any]] = field(default_factory=list)
    left: int = 0


@dataclass(frozen=True)
class Pool(_Wire):
    """Hosts that share one configuration. `settings`: what was said of it; `document` is the whole answer, as it came."""

    name: str
    offerings: list[dict[str, Any]] = field(default_factory=list)
    hosts_min: int = 0
    hosts_max: int = 0
    slots_per_host: int | None = None
    linger_s: float = 0.0
    version: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    document: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        name = document.get("name") or document.get("pool") or ""
        return super().from_json({**document, "name": name, "document": dict(document)})


@dataclass(frozen=True)
class Host(_Wire):
    """Our record of one EC2 instance. `assignments` are the attempts that it holds."""

    id: str
    pool: str
    state: str
    instance_id: str | None = None
    offering: Any = None
    cpu: float | None = None
    memory_mib: int | None = None
    slots: int | None = None
    launched_at: float | None = None
    ready_at: float | None = None
    seen_at: float | None = None
    idle_since: float | None = None
    reason: str | None = None
    assignments: list[dict[str, Any]] = field(default_factory=list)
    installs: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class LogPart:
    """A piece of a log: `text` starts at byte `start`; read on at `next`. `cut`: the log hit its limit."""

    start: int
    next: int
    text: str
    complete: bool
    cut: bool

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> LogPart:
        start = int(document.get("from", 0))
        return cls(
            start=start,
            next=int(document.get("next", start)),
            text=document.get("text") or "",
            complete=bool(document.get("complete")),
            cut=bool(document.get("cut")),
        )


@dataclass(frozen=True)
class Output(_Wire):
    """One file that a job left: `path` relative to its work folder, `url` signed and short-lived, `name` as its spec calls it."""

    path: str
    bytes: int
    url: str
    name: str = ""


@dataclass(frozen=True)
class StoryLine(_Wire):
    """What happened to a job, a host or a pool, and why."""

    at: float
    subject: str
    event: str
    reason: str


@dataclass(frozen=True)
class Why(_Wire):
    """Why something is as it is: whole sentences, the most important first. `state`: None where its row is gone."""

    subject: str
    state: str | None = None
    at: float = 0.0
    sentences: list[str] = field(default_factory=list)
