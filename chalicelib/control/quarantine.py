"""Where messages go that cannot be handled: kept whole in the bucket with the sentence that says why, and told in a notice."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

from chalicelib.control.notices import notify
from chalicelib.wiring import Plane

BODY_KEPT_MAX = 262_144
NAME_MAX = 100
_NO_NAME = re.compile(r"[^A-Za-z0-9._-]")  # who sent a message may have made up what it says of its id


def quarantine(plane: Plane, queue: str, message_id: str, body: str, reason: str) -> str:
    """Keep a bad message; its key in the bucket is returned. Writing the same message again changes nothing."""
    day = datetime.fromtimestamp(plane.clock(), UTC).date().isoformat()
    key = f"quarantine/{queue}/{day}/{_NO_NAME.sub('_', message_id)[:NAME_MAX]}.json"
    document = {"queue": queue, "message_id": message_id, "reason": reason, "body": body[:BODY_KEPT_MAX]}
    plane.cloud.blobs.put(key, json.dumps(document).encode())
    notify(
        plane,
        "message_quarantined",
        "error",
        subject=message_id,
        reason=f"a message on the {queue} queue was set aside: {reason}",
        detail={"queue": queue, "key": key},
    )
    return key
