"""Misbehaviour on command: what AWS does to everybody sooner or later, when we want it.

Told over HTTP, at `/_faults` of the front: POST one JSON object, GET what is set, DELETE to clear (`?kind=` one kind); or `spillway local
fault`. The kinds and their fields are in `fault_kinds.py`. A fault acts `count` times, or until cleared when there is no count; a condition
(how the cloud is: its buckets, its capacity, its prices) holds until it is set anew or cleared.
"""

from __future__ import annotations

import copy
import itertools
import json
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qsl

from localcloud.calls import AwsCall, AwsReply, refusal
from localcloud.ec2_buckets import Ec2Buckets
from localcloud.fault_kinds import CHOICES, KINDS, LASTING
from localcloud.gaps.ec2_launch_request import LaunchRequest, Refusal, Room, insufficient_capacity
from localcloud.instances.listing import SlowListing
from localcloud.instances.machine import Boots, Machine
from localcloud.market.launches import decide
from localcloud.market.placement_scores import PlacementScores
from localcloud.market.spot import SpotMarket
from localcloud.market.stock import Quotas, Stocks
from localcloud.sources.hooks import Hooks

if TYPE_CHECKING:
    from localcloud.front import Front
    from localcloud.instances.fleet import Fleet
    from localcloud.lambdas.functions import Functions

log = logging.getLogger("localcloud.faults")

THROTTLED = {"ec2": ("RequestLimitExceeded", 503), "s3": ("SlowDown", 503), "lambda": ("TooManyRequestsException", 429)}


class BadFault(ValueError):
    """A fault that cannot be set; the text says why."""


class Condition(Protocol):
    """How the cloud is until further notice. `set` raises ValueError with a sentence."""

    @property
    def kinds(self) -> tuple[str, ...]: ...
    def set(self, kind: str, fields: dict[str, Any]) -> None: ...
    def clear(self) -> None: ...
    def listed(self) -> list[dict[str, Any]]: ...


@dataclass
class Fault:
    """One fault that is set; `left` is how often it still acts, None for always."""

    id: int
    kind: str
    fields: dict[str, Any]
    left: int | None
    acted: int = 0


class Faults:
    """What is to go wrong, as a guard of the front, a hook on queues, and the capacity of EC2."""

    def __init__(self, front: Front) -> None:
        self._faults: list[Fault] = []
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._at_once: dict[str, Callable[..., Any]] = {}
        self.buckets = Ec2Buckets()
        self._conditions: list[Condition] = [self.buckets]
        self._front = front
        front.guard(self)
        front.mount("/_faults", self.app)

    def connect(self, fleet: Fleet, functions: Functions, hooks: Hooks) -> None:
        """Tell it whom to hit: instances, functions, and moto's queues."""
        self.connect_fleet(fleet)
        self._at_once["kill_function"] = lambda function: functions.kill(function)
        self._hook_queues(hooks)

    def connect_fleet(self, fleet: Fleet) -> None:
        """Tell it which instances to hit."""
        self._at_once |= {
            "interrupt": lambda instance_id, in_s: fleet.interrupt(instance_id, float(in_s)),
            "lose_host": lambda instance_id: fleet.lose(instance_id),
            "rebalance": lambda instance_id: fleet.recommend_rebalance(instance_id),
        }
        self.stocks, self.quotas = Stocks(fleet.machines), Quotas(fleet.machines)
        self.spot = SpotMarket(self._front, fleet, fleet.machines)
        PlacementScores(self._front, self.stocks)
        self._conditions += [self.stocks, self.quotas, self.spot, SlowListing(self._front, fleet.machines)]
        fleet.launches.capacity = self.capacity
        otherwise = fleet.boots
        fleet.boots = lambda machine: self._boots(machine) or otherwise(machine)

    def start(self) -> None:
        """Nothing goes wrong before it is told to."""

    def stop(self) -> None:
        """End what acts by itself."""
        self.clear()

    def set(self, fault: dict[str, Any]) -> Fault | None:
        """Set a lasting fault (it is returned), or do a momentary one (None). Raises BadFault with a sentence."""
        fields = dict(fault)
        kind = fields.pop("kind", None)
        known = KINDS.get(str(kind))
        if known is None:
            raise BadFault(f"There is no fault of kind {kind!r}; there are {', '.join(KINDS)}.")
        if strange := set(fields) - set(known):
            raise BadFault(f"A {kind} has no field {', '.join(sorted(strange))}; it has {', '.join(known)}.")
        fields = {**known, **fields}
        if missing := [name for name, value in fields.items() if value is ...]:
            raise BadFault(f"A {kind} needs {', '.join(missing)}.")
        for name, choices in CHOICES.items():
            if name in fields and fields[name] not in choices:
                raise BadFault(f"{name} is {' or '.join(repr(each) for each in choices)}, not {fields[name]!r}.")
        log.info("fault kind=%s %s", kind, " ".join(f"{k}={v}" for k, v in fields.items()))
        if kind not in LASTING:
            self._do(str(kind), fields)
            return None
        count = fields.pop("count")
        if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 1):
            raise BadFault(f"count must be a whole number above 0 or null, not {count!r}.")
        with self._lock:
            made = Fault(next(self._ids), str(kind), fields, count)
            self._faults.append(made)
        return made

    def clear(self, kind: str | None = None) -> None:
        """Nothing goes wrong on purpose any more; with `kind`, nothing of that kind. Raises BadFault."""
        if kind is not None and kind not in KINDS:
            raise BadFault(f"There is no fault of kind {kind!r}; there are {', '.join(KINDS)}.")
        with self._lock:
            self._faults[:] = [fault for fault in self._faults if kind not in (None, fault.kind)]
        for condition in self._conditions:
            if kind is None or kind in condition.kinds:
                condition.clear()

    def listed(self) -> list[dict[str, Any]]:
        """The faults that are set, with how often each has acted, and the conditions."""
        conditions = [each for condition in self._conditions for each in condition.listed()]
        with self._lock:
            faults = [{"id": f.id, "kind": f.kind, **f.fields, "count": f.left, "acted": f.acted} for f in self._faults]
        return faults + conditions

    def check(self, call: AwsCall) -> AwsReply | None:
        """Guard of the front: throttles."""
        throttled = self.buckets.check(call)
        if throttled is not None or not self._faults:
            return throttled
        fault = self._strike(
            "throttle",
            lambda f: f["service"] == call.service and f["action"] in (None, call.action),
        )
        if fault is None:
            return None
        code, status = THROTTLED.get(call.service, ("ThrottlingException", 400))
        return refusal(call, code, "Request limit exceeded.", status)

    def capacity(self, request: LaunchRequest) -> Room | Refusal:
        """EC2's answer to a launch: the refusal that is set, else what the market has."""

        fault = self._strike("refuse_capacity", lambda f: _is_meant(f, request))
        if fault is None:
            return decide(request, self.quotas, self.stocks, self.spot)
        code = fault.fields["code"]
        if code == "InsufficientInstanceCapacity":
            return insufficient_capacity(request)
        return Refusal(code, f"The fault switch refuses {request.instance_type} with {code}.", 400)

    def _boots(self, machine: Machine) -> Boots | None:
        """What becomes of a machine that was just launched, where a fault says it."""
        fault = self._strike("no_boot", lambda f: _is_meant(f, machine))
        how: Boots | None = None if fault is None else fault.fields["how"]
        return how

    def app(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        """The switch over HTTP."""
        asked = dict(parse_qsl(environ.get("QUERY_STRING", "")))
        status, document = self._answer(environ["REQUEST_METHOD"], environ["localcloud.body"], asked.get("kind"))
        start_response(status, [("Content-Type", "application/json")])
        return [json.dumps(document).encode()]

    def _answer(self, method: str, body: bytes, kind: str | None) -> tuple[str, Any]:
        if method not in ("GET", "POST", "DELETE"):
            return "405 Method Not Allowed", {"detail": "The fault switch takes GET, POST and DELETE."}
        try:
            if method == "DELETE":
                self.clear(kind)
            if method != "POST":
                return "200 OK", {"items": self.listed()}
            document = json.loads(body)
            if not isinstance(document, dict):
                raise BadFault("A fault is a JSON object.")
            self.set(document)
        except BadFault as error:
            return "400 Bad Request", {"detail": str(error)}
        except ValueError as error:
            return "400 Bad Request", {"detail": f"The body is not JSON: {error}."}
        return "200 OK", {"items": self.listed()}

    def _do(self, kind: str, fields: dict[str, Any]) -> None:
        act = self._at_once.get(kind)
        for condition in self._conditions:
            if kind in condition.kinds:
                act = lambda _to=condition, **told: _to.set(kind, told)  # noqa: E731
        if act is None:
            raise BadFault(f"{kind} has nothing to act on: no instances and functions are connected.")
        try:
            result = act(**fields)
            log.info("fault done kind=%s result=%s", kind, result)
        except KeyError as error:
            raise BadFault(f"There is no {error.args[0]!r} to {kind.replace('_', ' ')}.") from None
        except ValueError as error:
            raise BadFault(str(error)) from None

    def _strike(self, kind: str, meant: Callable[[dict[str, Any]], bool]) -> Fault | None:
        """The first fault of a kind that is meant, counted down."""
        with self._lock:
            for fault in self._faults:
                if fault.kind == kind and meant(fault.fields):
                    fault.acted += 1
                    if fault.left is not None:
                        fault.left -= 1
                        if fault.left == 0:
                            self._faults.remove(fault)
                    return fault
        return None

    def _hook_queues(self, hooks: Hooks) -> None:
        from moto.sqs.models import Queue

        def around(original: Any) -> Any:
            def add_message(queue: Queue, message: Any) -> None:
                if self._faults and message.approximate_receive_count == 0:
                    self._disturb(queue, message, original)
                original(queue, message)

            return add_message

        hooks.replace(Queue, "add_message", around)

    def _disturb(self, queue: Any, message: Any, add: Callable[[Any, Any], None]) -> None:
        def meant(f: dict[str, Any]) -> bool:
            return f["queue"] in (None, queue.name)

        late = self._strike("delay_messages", meant)
        if late is not None:
            message.delayed_until = message.sent_timestamp + float(late.fields["seconds"]) * 1000
        if not queue.fifo_queue and self._strike("duplicate_messages", meant) is not None:
            add(queue, copy.deepcopy(message))


def _is_meant(fields: dict[str, Any], launch: LaunchRequest | Machine) -> bool:
    """Whether a fault with an offering (null = any) means a launch or a machine of one."""
    return all(fields[name] in (None, getattr(launch, name)) for name in ("instance_type", "market", "zone", "region"))
