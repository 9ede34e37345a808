"""Commands on the SNS commands topic: what other services may ask of the control plane."""

from __future__ import annotations

import json

from chalicelib.control.notices import notify
from chalicelib.control.wake import wake
from chalicelib.wiring import Plane


def receive(plane: Plane, message: str) -> None:
    """One command, `{"v": 1, "command": "wake", "pool": NAME}`; a bad one is told in a notice and changes nothing."""
    try:
        document = json.loads(message)
        command, pool = document["command"], document["pool"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        _refuse(plane, f"a command is not understood: {type(error).__name__}: {error}")
        return
    if command == "wake":
        wake(plane, str(pool))
    else:
        _refuse(plane, f"there is no command {command!r}; known: wake")


def _refuse(plane: Plane, reason: str) -> None:
    notify(plane, "command_refused", "warning", subject="commands", reason=reason)
