"""The user ids that attempts run as: nobody's on any machine, and never two attempts' at a time."""

from __future__ import annotations

UIDS_EACH = 64  # the range of one host folder
UID_RANGES = 10000
FIRST_UID = 200000
LOCAL_FIRST_UID = FIRST_UID + UIDS_EACH * UID_RANGES  # of attempts without a host (agent/local.py)
LOCAL_UIDS = 1000
LAST_UID = LOCAL_FIRST_UID + LOCAL_UIDS - 1


def first_of(digest: str) -> int:
    """The first of the range of the host folder whose path has this SHA-256 (hex)."""
    return FIRST_UID + int(digest[:8], 16) % UID_RANGES * UIDS_EACH
