"""EventBridge rules with an event pattern: events reach their targets."""

import datetime as dt
import time
import uuid
from typing import Any

from moto.backends import get_backend
from moto.events.models import Rule

from localcloud.identity import ACCOUNT_ID
from localcloud.lambdas.functions import Functions
from localcloud.sources.hooks import Hooks
from localcloud.sources.targets import deliver

HOPS_MAX = 5  # a bus that forwards to itself ends here


class EventBus:
    """Every bus of every region. moto's own PutEvents and S3 notifications come through here too."""

    def __init__(self, functions: Functions) -> None:
        self._functions = functions
        self._hooks = Hooks()

    def start(self) -> None:
        def send(rule: Rule, event: Any, transform_input: bool = True) -> None:
            self._offer(rule, complete(dict(event), rule.region_name), 0)

        self._hooks.replace(Rule, "send_to_targets", lambda _: send)

    def stop(self) -> None:
        self._hooks.restore()

    def publish(self, event: dict[str, Any], region: str) -> None:
        """Offer an event to the rules of the region's default bus and return; targets are invoked asynchronously.

        `event` needs `source`, `detail-type` and `detail`; what else EventBridge adds is filled in where it is missing.
        """
        self._publish(complete(event, region), region, "default", 0)

    def _publish(self, event: dict[str, Any], region: str, bus_name: str, hops: int) -> None:
        bus = get_backend("events")[ACCOUNT_ID][region].event_buses.get(bus_name)
        if bus is None or hops > HOPS_MAX:
            return
        for rule in list(bus.rules.values()):
            self._offer(rule, event, hops)

    def _offer(self, rule: Rule, event: dict[str, Any], hops: int) -> None:
        pattern: Any = rule.event_pattern
        if rule.state != "ENABLED" or not pattern.dump() or not pattern.matches_event(event):
            return

        def forward(event: dict[str, Any], region: str, bus_name: str) -> None:
            self._publish(event, region, bus_name, hops + 1)

        for target in list(rule.targets):
            deliver(target, event, self._functions, forward)


def complete(event: dict[str, Any], region: str) -> dict[str, Any]:
    """The event with every field that EventBridge delivers, in its order."""
    moment = event.get("time", time.time())
    if isinstance(moment, (int, float)):
        moment = dt.datetime.fromtimestamp(moment, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "version": event.get("version", "0"),
        "id": event.get("id") or str(uuid.uuid4()),
        "detail-type": event["detail-type"],
        "source": event["source"],
        "account": event.get("account") or ACCOUNT_ID,
        "time": moment,
        "region": event.get("region") or region,
        "resources": event.get("resources", []),
        "detail": event["detail"],
    }
