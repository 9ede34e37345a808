"""What agents say on the heartbeat queue (docs/contracts.md §6).

The sender is proven by SQS's own SenderId. A ping counts only for the attempt that it names; finish may overtake start. Every
ping may come twice, late and out of order, so each handler is a conditional write that finds "already so" and goes on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

import msgspec

from chalicelib.control import groups, installs, progress, self_report, settle
from chalicelib.control.durations import Lessons
from chalicelib.control.interruptions import Cause, Leaving, leaves
from chalicelib.control.quarantine import quarantine
from chalicelib.control.wake import wake
from chalicelib.core.finite import finite
from chalicelib.core.host import GIVEN_BACK, Host, HostEvent, HostState
from chalicelib.core.job import Finish, JobEvent
from chalicelib.core.retry import GRADER
from chalicelib.telemetry import log
from chalicelib.wiring import Plane

UNKNOWN_RETRY_S = 2  # an instance may speak before the pass that launched it has written down its id
UNKNOWN_SLOW_AFTER, UNKNOWN_SLOW_S = (
    15,
    30,
)  # … and much longer before, where that pass crashed and EC2 does not answer the next
UNKNOWN_TRIES_MAX = 60
CANARY_AHEAD_MAX_S = 60.0  # clocks of two functions differ by less
NAME_LENGTH_MAX = 128  # of a pool or a host; a key can be neither empty nor without end
SEEN_EVERY_S = 10.0
IMAGE_CHARS_MAX = 640
RESTORED_MAX = 1000  # characters


class BadPing(Exception):
    """A message that no agent of ours writes; the text says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Message:
    sender: str
    body: str
    message_id: str = ""
    tries: int = 0


def receive(plane: Plane, messages: Iterable[Message]) -> None:
    """Messages one by one: a bad one is set aside and never replays its neighbours.

    What fails otherwise - tables that do not answer, a mistake of ours - is raised after all were tried: then the batch comes again.
    """
    wakes: set[str] = set()
    lessons = Lessons()
    failure: Exception | None = None
    for message in messages:
        try:
            wakes |= _one(plane, message, lessons)
        except BadPing as error:
            quarantine(plane, "heartbeats", message.message_id, message.body, str(error))
        except Exception as error:
            log.exception("a ping could not be handled", extra={"message_id": message.message_id})
            failure = error
    try:
        for pool in sorted(wakes):
            wake(plane, pool)
    finally:  # the rows are moved, so a repeated batch would teach nothing
        lessons.write(plane)
    if failure is not None:
        raise failure


def _one(plane: Plane, message: Message, lessons: Lessons) -> set[str]:
    """Handle one message; the pools that are to be looked at because of it."""
    document = _document(message.body)
    if "canary" in document:
        plane.stores.registry.put_setting("canary", {"at": _canary_at(plane, message, document)})
        return set()
    pool, host_id = str(document["pool"]), str(document["host"])
    host = plane.stores.hosts.get(pool, host_id) or groups.register(plane, pool, host_id, message.sender)
    if host is None:
        log.warning("a ping of an unknown host", extra={"pool": pool, "host": host_id, "sender": message.sender})
        return set()
    if host.userid is None:
        if host.state is not HostState.TERMINATED:
            _later(plane, message, document)
        return set()
    if host.userid != message.sender:
        raise BadPing(f"it speaks for {host_id}, but {message.sender} sent it")
    log.append_keys(host=host_id)
    outcomes, faults = [], []
    facts: dict[str, Any] = {}
    now = plane.clock()
    if host.seen_at is None or now - host.seen_at > SEEN_EVERY_S:
        facts["seen_at"] = now
    try:
        if (holds := self_report.holds(document["pings"])) not in (None, host.holds):
            facts["holds"] = holds
    except (TypeError, ValueError, OverflowError) as error:
        faults.append(str(error))
    if facts:
        plane.stores.hosts.touch(pool, host_id, **facts)
    for ping in document["pings"]:
        try:
            outcomes.append(_ping(plane, host, ping, lessons))
        except BadPing as error:  # one that cannot be understood must not take a finish along
            faults.append(str(error))
    if faults:
        quarantine(plane, "heartbeats", message.message_id, message.body, "; ".join(faults))
    return {pool} if any(outcomes) else set()


def _canary_at(plane: Plane, message: Message, document: dict[str, Any]) -> float:
    """When a canary was sent. From a host it would be a lie: by a time to come it could make all others seem silent."""
    if message.sender.startswith(f"{plane.settings.host_role_id}:"):
        raise BadPing(f"a canary, but {message.sender} sent it")
    try:
        at = float(document["canary"]["at"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise BadPing(f"its canary is malformed: {type(error).__name__}: {error}") from None
    if not 0 <= at <= plane.clock() + CANARY_AHEAD_MAX_S:  # neither is NaN
        raise BadPing(f"its canary was sent at {at}, which no tick of ours says")
    return at


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number that a table could keep")


def _document(body: str) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(body, parse_constant=_no_number, parse_float=finite)
    except (ValueError, RecursionError) as error:
        raise BadPing(f"it is not JSON that we read: {error}") from None
    if not isinstance(document, dict) or document.get("v") != 1:
        raise BadPing("it is not a version 1 document")
    if "\\ud" in body.lower():  # half a surrogate pair is JSON, but no text that a table could keep
        document = json.loads(json.dumps(document, ensure_ascii=False).encode("utf-8", "replace"))
    if "canary" not in document and not {"pool", "host", "pings"} <= document.keys():
        raise BadPing("it lacks pool, host or pings")
    for name in ("pool", "host"):
        if "canary" not in document and not 0 < len(str(document[name])) <= NAME_LENGTH_MAX:
            raise BadPing(f"its {name} is no name")
    if "canary" not in document and not isinstance(document["pings"], list):
        raise BadPing("its pings are no list")
    return document


def _later(plane: Plane, message: Message, document: dict[str, Any]) -> None:
    """Send it through the timers queue, with the sender that SQS proved (only the control plane can write there)."""
    if message.tries >= UNKNOWN_TRIES_MAX:
        raise BadPing(f"host {document['host']} has no instance, {message.tries} tries long")
    plane.cloud.queues.timer(
        {"v": 1, "kind": "ping", "sender": message.sender, "body": document, "tries": message.tries + 1},
        UNKNOWN_RETRY_S if message.tries < UNKNOWN_SLOW_AFTER else UNKNOWN_SLOW_S,
    )


def _ping(plane: Plane, host: Host, ping: Any, lessons: Lessons) -> bool:
    if not isinstance(ping, dict):
        raise BadPing("one of its pings is not an object")
    kind = str(ping.get("kind"))
    handler, teacher = _HANDLERS.get(kind), _TEACHERS.get(kind)
    try:
        if teacher is not None:
            return teacher(plane, host, ping, lessons)
        if handler is not None:
            return handler(plane, host, ping)
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError, msgspec.ValidationError) as error:
        raise BadPing(f"its {ping['kind']} ping is malformed: {type(error).__name__}: {error}") from None
    raise BadPing(f"no agent of ours says {ping.get('kind')!r}")


# Each handler says whether the pool is to be looked at.


def _hello(plane: Plane, host: Host, ping: dict[str, Any], lessons: Lessons) -> bool:
    reason = f"its agent said hello (sandbox: {ping.get('sandbox', '?')})"
    now = plane.clock()
    moved = plane.stores.hosts.move(host.pool, host.id, HostEvent.HELLO, at=now, reason=reason)
    if moved is not None:
        lessons.booted(moved, now)
    return True


def _accepted(plane: Plane, host: Host, ping: dict[str, Any]) -> bool:
    plane.stores.hosts.mark(host.pool, host.id, f"{ping['job']}#{ping['attempt']}", accepted_at=plane.clock())
    return False


def _start(plane: Plane, host: Host, ping: dict[str, Any]) -> bool:
    job_id, attempt, at, now = str(ping["job"]), int(ping["attempt"]), finite(ping["at"]), plane.clock()
    if not 0.0 < at <= now:  # deadlines hang on it: a clock that is wrong must not move them into the future
        at = now
    job = plane.stores.jobs.get(job_id)
    if job is None or not job.on(host.id):
        return False
    image = str(ping.get("image_digest") or "")[:IMAGE_CHARS_MAX]
    reason = f"runs on {host.id} in {image}" if image else f"runs on {host.id}"
    if restored := str(ping.get("restored") or "")[:RESTORED_MAX]:
        reason += f": {restored}"
    if not job.gang:  # a gang runs since it was told to begin
        plane.stores.jobs.move(
            job_id, JobEvent.START, attempt=attempt, at=at, reason=reason, host=host.id, userid=host.userid
        )
    plane.stores.hosts.mark(host.pool, host.id, f"{job_id}#{attempt}", started_at=at)
    return False


def _ready(plane: Plane, host: Host, ping: dict[str, Any]) -> bool:
    """A member of a gang has the claim, and waits for the others."""
    key, address = f"{ping['job']}#{int(ping['attempt'])}", str(ip_address(str(ping["address"])))
    plane.stores.hosts.mark(host.pool, host.id, key, ready_at=plane.clock(), address=address)
    return True


def _progress(plane: Plane, host: Host, ping: dict[str, Any]) -> bool:
    progress.said(plane, host, ping)
    return False


def _finish(plane: Plane, host: Host, ping: dict[str, Any], lessons: Lessons) -> bool:
    fields = {k: v for k, v in ping.items() if k not in ("kind", "at", "job", "attempt")}
    finish = msgspec.convert(fields, Finish)
    job, attempt = str(ping["job"]), int(ping["attempt"])
    moved = settle.finished(plane, host.pool, host.id, str(host.userid), job, attempt, finish)
    if moved is not None:
        lessons.finished(moved, finish)
        if moved.ended:
            progress.forget(plane, [kept.key for kept in moved.progress.kept])
    return True


def _refused(plane: Plane, host: Host, ping: dict[str, Any]) -> bool:
    """Handed over and not begun: with fresh URLs again, or taken back."""
    job_id, attempt, why = str(ping["job"]), int(ping["attempt"]), str(ping["why"])
    unbegun = ping.get("unbegun") is True
    reason = f"{host.id} refused it ({why}): {ping.get('reason', '')}"
    assignment = next((a for a in host.assignments if a.job == job_id and a.attempt == attempt), None)
    if assignment is None:
        return False
    if why == "urls_expired" and (absent := _absent_upload(plane, job_id)) is not None:
        why, ping = "bad_input", {**ping, "reason": f"input {absent} is not in the bucket: never uploaded, or expired"}
    if why in ("urls_expired", "urls_missing"):
        plane.stores.hosts.mark(host.pool, host.id, assignment.key, accepted_at=GIVEN_BACK)
        plane.tell(job_id, "refused", reason)
        return True
    if why == "bad_input":
        finish = Finish(outcome="failed", reason=str(ping.get("reason", "an input is bad")), finished_at=plane.clock())
        settle.finished(plane, host.pool, host.id, str(host.userid), job_id, attempt, finish)
        return True
    if why == "bad_grader":
        reason = f"its grader is broken: {ping.get('reason', '')}"
        finish = Finish(outcome="infrastructure", cause=GRADER, reason=reason, finished_at=plane.clock())
        settle.finished(plane, host.pool, host.id, str(host.userid), job_id, attempt, finish)
        return True
    if why == "no_sandbox":
        advice = "Give the pool a machine image with what its sandbox needs (bubblewrap, or Docker); sandbox=none is for trusted jobs"
        self_report.sicken(plane, host, "host_cannot_sandbox", "error", reason=reason, advice=advice)
    if why == "unhealthy":
        self_report.sicken(plane, host, "host_unhealthy", "warning", reason=reason)
    if why == "install_failed":
        version, said = str(ping.get("install", "")), str(ping.get("reason", ""))
        installs.refused(plane, host, assignment, version, reason, said, unbegun=unbegun)
        return True
    if (
        why == "other_domain"
    ):  # it may never be a host of that owner's; empty, it is replaced, and nobody need look at it
        plane.stores.hosts.move(host.pool, host.id, HostEvent.SICKEN, at=plane.clock(), reason=reason)
    if why == "interrupted" and host.interrupt_at is None:  # what this message said of it is on the row by now
        host = plane.stores.hosts.get(host.pool, host.id) or host
    settle.reclaim(plane, host, assignment, reason, unbegun=unbegun)
    return True


def _absent_upload(plane: Plane, job_id: str) -> str | None:
    """An upload that the job needs and nobody has made. S3 answers 403 for it to a signed URL, as if the URL had expired."""
    job = plane.stores.jobs.get(job_id)
    uploads = sorted(job.spec.uploads) if job else []
    return next((sha for sha in uploads if not plane.cloud.blobs.exists(f"uploads/{sha}")), None)


def _idle(plane: Plane, host: Host, ping: dict[str, Any]) -> bool:
    return True


def _interrupted(plane: Plane, host: Host, ping: dict[str, Any]) -> bool:
    leaves(plane, host, Leaving(Cause.INTERRUPTION, finite(ping["interrupt_at"]), "its agent"))
    return True


def _rebalance(plane: Plane, host: Host, ping: dict[str, Any]) -> bool:
    leaves(plane, host, Leaving(Cause.REBALANCE, finite(ping["notice_at"]), "its agent"))
    return True


def _scrubbed(plane: Plane, host: Host, ping: dict[str, Any]) -> bool:
    """It has taken away what its last owner's jobs left, before another's begin."""
    found = {str(name)[:32]: int(count) for name, count in dict(ping["found"]).items()}
    what = ", ".join(f"{count} {name}" for name, count in sorted(found.items()) if count) or "nothing"
    before, domain = (str(ping[name])[:NAME_LENGTH_MAX] for name in ("before", "domain"))
    plane.tell(host.id, "scrubbed", f"it is clean of what {before} left there ({what}), and serves {domain} now")
    return False


def _bye(plane: Plane, host: Host, ping: dict[str, Any]) -> bool:
    """Its agent is about to end: what it has not begun is taken back at once, and nothing more is given to it."""
    reason = f"it said bye: {ping.get('reason', '')}"
    plane.stores.hosts.move(host.pool, host.id, HostEvent.SICKEN, at=plane.clock(), reason=reason)
    return True


_TEACHERS: dict[str, Callable[[Plane, Host, dict[str, Any], Lessons], bool]] = {"hello": _hello, "finish": _finish}
_HANDLERS: dict[str, Callable[[Plane, Host, dict[str, Any]], bool]] = {
    "alive": self_report.alive,
    "installs": installs.told,
    "accepted": _accepted,
    "refused": _refused,
    "ready": _ready,
    "start": _start,
    "progress": _progress,
    "idle": _idle,
    "interrupted": _interrupted,
    "rebalance": _rebalance,
    "scrubbed": _scrubbed,
    "bye": _bye,
}
