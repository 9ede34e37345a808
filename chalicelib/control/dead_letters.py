"""Dead letters are read, by each tick: what died is tried once more where that may help; else the job is marked in words, whoever waits
is told, and nobody is charged.

A message dies when its function has failed on it five times, a quarter of an hour long. That is mostly an outage, and what people sent
must not be lost with it: so a submission goes back to its queue with its first id (what it had recorded is found again), and a ping
goes on through the timers queue with the sender that SQS proved. What dies a second time is set aside:

| what | what becomes of it |
|---|---|
| a submission | its sender is told, where one waits for an answer (PrairieLearn) |
| an answer for PrairieLearn's queue | tried for three hours, then kept: it is the only word that it gets of a refused job |
| a `finish` ping | nobody will ever know how the attempt ended: it is lost, or repeated where the job allows that, and not charged |
| an `ended` timer | counts as one more try that reached nobody |
| a wake, any other ping or timer | nothing: the tick does all of that by itself |

The letter is deleted last: a crash on the way does it all again, which changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from chalicelib.cloud.ports import DeadLetter
from chalicelib.control import delivery, intake, settle
from chalicelib.control.notices import notify
from chalicelib.control.quarantine import quarantine
from chalicelib.control.wake import wake
from chalicelib.core.dialects import Dialect, recognise
from chalicelib.telemetry import log
from chalicelib.wiring import Plane

ANSWER_LIVES_MAX = 12  # of a quarter of an hour each
BODY_MAX = 240_000  # a message with another around it must still be one


def read(plane: Plane) -> None:
    """All that lie there now, up to ten of each queue; one that cannot be dealt with does not hide the others."""
    failure: Exception | None = None
    for letter in plane.cloud.queues.dead_letters():
        try:
            if not _tried_again(plane, letter):
                _given_up(plane, letter)
            plane.cloud.queues.bury(letter)
        except Exception as error:
            log.exception("a dead letter could not be dealt with", extra={"message_id": letter.message_id})
            failure = error
    if failure is not None:
        raise failure


def _tried_again(plane: Plane, letter: DeadLetter) -> bool:
    again = _AGAIN.get(letter.queue)
    if again is None or len(letter.body) > BODY_MAX or not again(plane, letter):
        return False
    notify(
        plane,
        "message_retried",
        "warning",
        subject=letter.message_id,
        reason=f"the {letter.queue} function failed on a message again and again; it is tried once more",
        detail={"queue": letter.queue},
    )
    return True


def _given_up(plane: Plane, letter: DeadLetter) -> None:
    reason = f"the {letter.queue} function failed on it again and again"
    if letter.queue == "submissions":
        intake.refuse(plane, intake.first_of(letter.message_id, letter.body), reason)
        return
    key = quarantine(plane, letter.queue, letter.message_id, letter.body, reason)
    document = _document(letter.body)
    if letter.queue == "timers" and document.get("kind") == "ping":
        _unheard(plane, str(document.get("sender")), document.get("body"), key)
    if letter.queue == "timers" and document.get("kind") == "ended":
        delivery.died(plane, str(document.get("job")), f"its telling failed again and again; see {key}")


def _submission_again(plane: Plane, letter: DeadLetter) -> bool:
    if recognise(letter.body).dialect is Dialect.AGAIN:
        return False
    first = {"id": letter.message_id, "body": letter.body, "sent_at": letter.sent_at}
    plane.cloud.queues.resubmit({"again": first})
    return True


def _ping_again(plane: Plane, letter: DeadLetter) -> bool:
    document = _document(letter.body)
    if not letter.sender or not isinstance(document.get("pings"), list):
        return False
    plane.cloud.queues.timer({"v": 1, "kind": "ping", "sender": letter.sender, "body": document, "tries": 1}, 0)
    return True


def _answer_again(plane: Plane, letter: DeadLetter) -> bool:
    """An answer for PrairieLearn's queue is the only word that it gets of a refused job: it is tried for three hours."""
    document = _document(letter.body)
    lives = document.get("lives", 1)
    if document.get("kind") != "answer" or not isinstance(lives, int) or lives >= ANSWER_LIVES_MAX:
        return False
    plane.cloud.queues.timer({**document, "lives": lives + 1}, 0)
    return True


_AGAIN: dict[str, Callable[[Plane, DeadLetter], bool]] = {
    "submissions": _submission_again,
    "heartbeats": _ping_again,
    "timers": _answer_again,
}


def _unheard(plane: Plane, sender: str, body: Any, key: str) -> None:
    """The attempts that ended, as their host's agent said in a message that nobody could handle."""
    if not isinstance(body, Mapping) or not isinstance(body.get("pings"), list):
        return
    pool, host_id = str(body.get("pool")), str(body.get("host"))
    host = plane.stores.hosts.get(pool, host_id) if pool and host_id else None
    if host is None or host.userid != sender:
        return
    reason = f"it ended on {host_id}, but the message that says how could not be handled and is kept as {key}"
    for ping in body["pings"]:
        if isinstance(ping, Mapping) and ping.get("kind") == "finish" and isinstance(ping.get("attempt"), int):
            settle.unheard(plane, host, str(ping.get("job")), ping["attempt"], reason)
    wake(plane, pool)


def _document(body: str) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
