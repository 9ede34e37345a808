"""The kinds of misbehaviour and their fields, with defaults; `...` must be given, null means any.

| kind | fields |
|---|---|
| `refuse_capacity` | `instance_type`, `market`, `zone`, `region`, `count`, `code` (InsufficientInstanceCapacity) - of launches |
| `no_boot` | `instance_type`, `market`, `zone`, `region`, `count` (of instances), `how`: silent (EC2: running), terminated |
| `throttle` | `service`, `action` (null = any of the service), `count` |
| `delay_messages` | `queue` (name, null = any), `seconds`, `count` |
| `duplicate_messages` | `queue` (standard queues only), `count` |
| `interrupt` | `instance_id`, `in_s` (120) - spot interruption, at once |
| `rebalance` | `instance_id` - rebalance recommendation, at once |
| `lose_host` | `instance_id` - its processes vanish without a word |
| `kill_function` | `function` - its workers are killed, mid-way or not |
| `ec2_buckets` | `speed` (1) - throttle EC2's operations as EC2 does; their clock runs so many times faster |
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
}
KINDS = {**LASTING, **AT_ONCE, **CONDITIONS}
CHOICES: dict[str, tuple[Any, ...]] = {"how": ("silent", "terminated"), "market": (None, "spot", "on_demand")}
