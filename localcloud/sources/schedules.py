"""EventBridge rules with a schedule: their targets are invoked when they are due.

`speed` makes scheduled time run faster than the clock (12: a minute's rule fires every 5 s), for demonstrations and tests.
A rate counts from the moment its rule was first seen; an event that could not be sent in time is not sent twice to catch up.
"""

import datetime as dt
import logging
import threading
import time
from typing import Any

from moto.backends import get_backend
from moto.events.models import Rule

from localcloud.identity import ACCOUNT_ID
from localcloud.lambdas.functions import Functions
from localcloud.sources.cron import BadSchedule, Cron, Rate, parse
from localcloud.sources.eventbridge import complete
from localcloud.sources.targets import deliver

SCAN_S = 0.5
log = logging.getLogger("localcloud.schedules")


class Schedules:
    """Fires scheduled rules of every region from `start` to `stop`."""

    def __init__(self, functions: Functions, *, speed: float = 1.0) -> None:
        if speed <= 0:
            raise ValueError(f"speed must be above 0, not {speed}")
        self._functions = functions
        self._speed = speed
        self._began = time.time()
        self._due: dict[
            tuple[str, str], tuple[str, float | None]
        ] = {}  # rule → its expression, when next (scheduled time)
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, daemon=True, name="schedules")
        self.fired = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(5)

    def now(self) -> float:
        """Scheduled time, epoch seconds: the clock's when `speed` is 1."""
        return self._began + (time.time() - self._began) * self._speed

    def _run(self) -> None:
        while not self._stopping:
            try:
                pause = self._look_at_all()
            except Exception:
                log.exception("looking at the schedules failed, and goes on")
                pause = SCAN_S
            self._wake.wait(max(0.001, pause))

    def _look_at_all(self) -> float:
        """Fire what is due; seconds until something may be due again."""
        now = self.now()
        rules = {(rule.region_name, rule.name): rule for rule in _scheduled_rules()}
        for key in self._due.keys() - rules.keys():
            del self._due[key]
        for key, rule in rules.items():
            self._look(key, rule, now)
        times = [at for _, at in self._due.values() if at is not None]
        return min([SCAN_S, *[(at - self.now()) / self._speed for at in times]])

    def _look(self, key: tuple[str, str], rule: Rule, now: float) -> None:
        expression: str = rule.scheduled_expression or ""
        known, due = self._due.get(key, ("", None))
        if known != expression:
            self._due[key] = (expression, next_due(expression, now))
        elif due is not None and now >= due:
            self._due[key] = (expression, next_due(expression, now, due))
            if rule.state == "ENABLED":
                self._fire(rule)

    def _fire(self, rule: Rule) -> None:
        self.fired += 1
        for target in list(rule.targets):
            deliver(target, scheduled_event(rule), self._functions, lambda *_: None)


def next_due(expression: str, now: float, last: float | None = None) -> float | None:
    """When a schedule fires next after `now`; a rate counts on from `last`. None for one that cannot be read: logged once."""
    try:
        schedule = parse(expression)
    except BadSchedule as error:
        log.error("a schedule never fires: %s", error)
        return None
    match schedule:
        case Rate(every_s):
            if last is None:
                return now + every_s
            return last + every_s * (int((now - last) // every_s) + 1)
        case Cron():
            found = schedule.next_after(dt.datetime.fromtimestamp(now, dt.UTC))
            return None if found is None else found.timestamp()


def scheduled_event(rule: Rule) -> dict[str, Any]:
    """What EventBridge sends for a schedule."""
    bare = {"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}, "resources": [rule.arn]}
    return complete(bare, rule.region_name)


def _scheduled_rules() -> list[Rule]:
    found = []
    for backend in dict(get_backend("events")[ACCOUNT_ID]).values():
        bus = backend.event_buses.get("default")
        found += [rule for rule in list(bus.rules.values()) if rule.scheduled_expression] if bus else []
    return found
