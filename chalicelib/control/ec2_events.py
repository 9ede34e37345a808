"""What EC2 tells through EventBridge about our instances: faster than the next list, never trusted to come."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from chalicelib.control.interruptions import interrupted
from chalicelib.control.launches import ROW_TTL_S
from chalicelib.control.wake import wake
from chalicelib.core.host import LIVE, Host, HostEvent
from chalicelib.telemetry import log
from chalicelib.wiring import Plane

INTERRUPTION_NOTICE_S = 120.0


def receive(plane: Plane, event: Mapping[str, Any]) -> None:
    """One `aws.ec2` event. Instances that are not ours are none of our business."""
    detail = event.get("detail") or {}
    instance_id = detail.get("instance-id")
    host = _host_of(plane, str(instance_id)) if instance_id else None
    if host is None:
        return
    now = plane.clock()
    kind = event.get("detail-type")
    if kind == "EC2 Instance State-change Notification" and detail.get("state") == "terminated":
        reason = f"EC2 says that {instance_id} is terminated"
        plane.stores.hosts.move(
            host.pool, host.id, HostEvent.VANISH, at=now, reason=_why(host, reason), expires_at=now + ROW_TTL_S
        )
    elif kind == "EC2 Spot Instance Interruption Warning":
        at = datetime.fromisoformat(str(event["time"])).timestamp() if "time" in event else now
        interrupted(plane, host, at + INTERRUPTION_NOTICE_S, "EC2")
    else:
        return
    log.info("an event of EC2", extra={"host": host.id, "instance": instance_id, "event": kind})
    wake(plane, host.pool)


def _why(host: Host, reason: str) -> str:
    """Keep the reason for which we retired it ourselves."""
    return f"{host.reason}; {reason}" if host.reason else reason


def _host_of(plane: Plane, instance_id: str) -> Host | None:
    """The live host of an instance: pools are few and their hosts one query each."""
    for pool in plane.stores.registry.pools():
        hosts, _ = plane.stores.hosts.of_pool(pool.name)
        for host in hosts:
            if host.instance_id == instance_id and host.state in LIVE:
                return host
    return None
