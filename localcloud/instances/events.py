"""The EventBridge events of EC2, as AWS documents them."""

import time
import uuid
from typing import Any

from localcloud.identity import ACCOUNT_ID


def _event(kind: str, instance_id: str, region: str, detail: dict[str, Any]) -> dict[str, Any]:
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": kind,
        "source": "aws.ec2",
        "account": ACCOUNT_ID,
        "time": utc(time.time()),
        "region": region,
        "resources": [f"arn:aws:ec2:{region}:{ACCOUNT_ID}:instance/{instance_id}"],
        "detail": {"instance-id": instance_id, **detail},
    }


def utc(at: float) -> str:
    """Epoch seconds as AWS writes them: 2026-11-21T08:00:00Z."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def state_change(instance_id: str, region: str, state: str) -> dict[str, Any]:
    """An instance is now in `state`."""
    return _event("EC2 Instance State-change Notification", instance_id, region, {"state": state})


def spot_interruption(instance_id: str, region: str) -> dict[str, Any]:
    """EC2 will take a spot instance back in two minutes."""
    return _event("EC2 Spot Instance Interruption Warning", instance_id, region, {"instance-action": "terminate"})


def rebalance(instance_id: str, region: str) -> dict[str, Any]:
    """A spot instance is at elevated risk."""
    return _event("EC2 Instance Rebalance Recommendation", instance_id, region, {})
