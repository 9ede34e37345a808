"""What comes back from the timers queue: a wake that fell due, a ping that came too early, the end of a job to tell somebody of."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from chalicelib.control import delivery, due, endings, fires, merge, pings, prairielearn
from chalicelib.control.quarantine import quarantine
from chalicelib.control.wake import wake
from chalicelib.telemetry import log
from chalicelib.wiring import Plane

Due = Callable[[], object]

CALLING_S = 12.0  # of the function's 30: a webhook that begins then, and takes as long as it may, is over in time
PUT_OFF_S = 1.0


def receive(plane: Plane, records: Iterable[tuple[str, str]]) -> None:
    """(message id, body) one by one; those that call webhooks come last, and are put off where the others took long.

    What fails by no fault of a record is raised at the end: then the batch comes again.
    """
    failure: Exception | None = None
    began = plane.clock()
    known = [(message_id, *_read(plane, message_id, body)) for message_id, body in records]
    for message_id, calls, handle in sorted(known, key=lambda one: bool(one[1])):
        try:
            if calls and plane.clock() - began > CALLING_S:
                delivery.order(plane, calls, PUT_OFF_S)
            else:
                handle()
        except Exception as error:
            log.exception("a timer could not be handled", extra={"message_id": message_id})
            failure = error
    if failure is not None:
        raise failure


def _read(plane: Plane, message_id: str, body: str) -> tuple[str, Due]:
    """Whose webhook it may call ("": nobody's), and what to do. Only the control plane writes to that queue, so its word is ours."""
    try:
        message = json.loads(body)
        kind = message["kind"]
        if kind not in KINDS:
            raise ValueError(f"there is no timer of kind {kind!r}")
        return str(message["job"]) if kind == "ended" else "", KINDS[kind](plane, message, message_id)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = f"it is no timer of ours: {type(error).__name__}: {error}"
        return "", partial(quarantine, plane, "timers", message_id, body, reason)


def _wake(plane: Plane, message: Mapping[str, Any], message_id: str) -> Due:
    return partial(wake, plane, str(message["pool"]))


def _ping(plane: Plane, message: Mapping[str, Any], message_id: str) -> Due:
    sender, document, tries = str(message["sender"]), json.dumps(message["body"]), int(message["tries"])
    return partial(pings.receive, plane, [pings.Message(sender, document, message_id, tries)])


def _ended(plane: Plane, message: Mapping[str, Any], message_id: str) -> Due:
    return partial(delivery.deliver, plane, str(message["job"]))


def _answer(plane: Plane, message: Mapping[str, Any], message_id: str) -> Due:
    return partial(prairielearn.send, plane, dict(message["message"]))


def _due(plane: Plane, message: Mapping[str, Any], message_id: str) -> Due:
    at = message.get("at")
    return partial(due.begin, plane, [str(job) for job in message["jobs"]], None if at is None else int(at))


def _fire(plane: Plane, message: Mapping[str, Any], message_id: str) -> Due:
    return partial(fires.fire_all, plane, [str(name) for name in message["schedules"]], float(message["at"]))


def _array(plane: Plane, message: Mapping[str, Any], message_id: str) -> Due:
    return partial(merge.due, plane, str(message["array"]), int(message.get("looks", 0)))


def _follow(plane: Plane, message: Mapping[str, Any], message_id: str) -> Due:
    return partial(endings.follow, plane, str(message["of"]), message.get("after"))


KINDS: dict[str, Callable[[Plane, Mapping[str, Any], str], Due]] = {
    # kind → what to do, read from the message; a ValueError, KeyError or TypeError means that it is none of ours
    "wake": _wake,
    "ping": _ping,
    "ended": _ended,
    "answer": _answer,
    "due": _due,
    "fire": _fire,
    "array": _array,
    "follow": _follow,
}
