"""Allow passes to wake passes.

Lambda stops functions that feed themselves through SQS after 16 rounds. A pass that leaves work behind wakes the next one, and so
does a timer that falls due: both are loops on purpose, bounded by the work there is and by one wake for each `pass_no`.
"""

from __future__ import annotations

from typing import Any

LOOPING = ("wakes", "timers", "heartbeats", "submissions", "ec2_events", "tick")


def allow(client: Any, stage: str, app_name: str = "spillway") -> list[str]:
    """Set RecursiveLoop to Allow on every function that may be part of such a loop; their names. `client`: Lambda's."""
    names = [f"{app_name}-{stage}-{function}" for function in LOOPING]
    for name in names:
        client.put_function_recursion_config(FunctionName=name, RecursiveLoop="Allow")
    return names
