"""What comes back from the timers queue: a wake that fell due, or a ping that came too early."""

from __future__ import annotations

import json

from chalicelib.control import pings
from chalicelib.control.wake import wake
from chalicelib.telemetry import log
from chalicelib.wiring import Plane


def receive(plane: Plane, body: str) -> None:
    """One timer message; only the control plane writes to that queue, so its sender's word is ours."""
    message = json.loads(body)
    if message["kind"] == "wake":
        wake(plane, message["pool"])
    elif message["kind"] == "ping":
        ping = pings.Message(sender=message["sender"], body=json.dumps(message["body"]), tries=int(message["tries"]))
        pings.receive(plane, [ping])
    else:
        log.error("an unknown timer", extra={"timer": message})
