"""What EC2 tells through EventBridge about our instances: faster than the next list, never trusted to come."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from chalicelib.control import groups
from chalicelib.control.interruptions import NOTICE_S, Cause, Leaving, leaves
from chalicelib.control.launch_answers import ROW_TTL_S
from chalicelib.control.wake import wake
from chalicelib.core.host import LIVE, Host, HostEvent
from chalicelib.telemetry import log
from chalicelib.wiring import Plane

STATE_CHANGE = "EC2 Instance State-change Notification"
WARNING = "EC2 Spot Instance Interruption Warning"
REBALANCE = "EC2 Instance Rebalance Recommendation"
ENDING = frozenset({"stopping", "shutting-down"})


def receive(plane: Plane, event: Mapping[str, Any]) -> None:
    """One event of EC2 or Auto Scaling. Instances and groups that are not ours are none of our business."""
    detail = event.get("detail") or {}
    at = datetime.fromisoformat(str(event["time"])).timestamp() if "time" in event else plane.clock()
    if event.get("source") == "aws.autoscaling":
        group, reason = str(detail.get("AutoScalingGroupName")), str(detail.get("StatusMessage") or "no reason given")
        groups.refused(plane, str(event.get("region") or plane.settings.region), group, at, reason)
        return
    instance_id, state = detail.get("instance-id"), detail.get("state")
    kind = event.get("detail-type")
    rows = plane.stores.hosts.of_instance(str(instance_id)) if instance_id else []
    host = next(
        (row for row in rows if kind == WARNING or row.state in LIVE), None
    )  # a late warning says why one has ended
    if host is None:
        return
    if kind == STATE_CHANGE and state == "terminated":
        _ended(plane, host, f"EC2 says that {instance_id} is terminated")
    elif kind == STATE_CHANGE and state in ENDING:
        leaves(plane, host, Leaving(Cause.ENDING, at, f"EC2 ({state})"))
    elif kind == WARNING:
        leaves(plane, host, Leaving(Cause.INTERRUPTION, at + NOTICE_S, "EC2"))
    elif kind == REBALANCE:
        leaves(plane, host, Leaving(Cause.REBALANCE, at, "EC2"))
    else:
        return
    log.info("an event of EC2", extra={"host": host.id, "instance": instance_id, "event": kind})
    wake(plane, host.pool)


def _ended(plane: Plane, host: Host, reason: str) -> None:
    """Whatever retired it, that reason is kept."""
    why = f"{host.reason}; {reason}" if host.reason else reason
    now = plane.clock()
    plane.stores.hosts.move(host.pool, host.id, HostEvent.VANISH, at=now, reason=why, expires_at=now + ROW_TTL_S)
