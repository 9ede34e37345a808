"""The kinds of misbehaviour and their fields, with defaults; `...` must be given, null means any.

docs/embedded-cloud.md says what each does.
"""

from __future__ import annotations

from typing import Any

OFFERING: dict[str, Any] = {"instance_type": None, "market": None, "zone": None, "region": None}

LASTING: dict[str, dict[str, Any]] = {  # struck when the time comes, `count` times
    "refuse_capacity": {**OFFERING, "count": None, "code": "InsufficientInstanceCapacity"},
    "no_boot": {**OFFERING, "count": None, "how": "silent"},
    "throttle": {"service": ..., "action": None, "count": None},
    "delay_messages": {"queue": None, "seconds": ..., "count": None},
    "duplicate_messages": {"queue": None, "count": None},
}
AT_ONCE: dict[str, dict[str, Any]] = {
    "interrupt": {"instance_id": ..., "in_s": 120.0},
    "rebalance": {"instance_id": ...},
    "lose_host": {"instance_id": ...},
    "kill_function": {"function": ...},
}
CONDITIONS: dict[str, dict[str, Any]] = {  # how the cloud is, until set anew
    "ec2_buckets": {"speed": 1.0},
    "capacity": {**OFFERING, "instances": ...},
    "vcpu_quota": {"region": "us-east-1", "market": "on_demand", "vcpus": ...},
    "spot_prices": {"file": ..., "start": None, "speed": 1.0, "warning_s": 120.0, "on_demand": None},
    "spot_price": {"zone": ..., "instance_type": ..., "price": ..., "on_demand": None, "warning_s": None},
    "slow_listing": {"launched_s": 0.0, "ended_s": 0.0},
}
KINDS = {**LASTING, **AT_ONCE, **CONDITIONS}
CHOICES: dict[str, tuple[Any, ...]] = {"how": ("silent", "terminated"), "market": (None, "spot", "on_demand")}
