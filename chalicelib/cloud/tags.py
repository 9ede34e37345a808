"""The tags of an instance and its volumes (docs/contracts.md §1): by them a pass finds its own, and a bill finds its pool."""

from __future__ import annotations

from chalicelib.core.host import Launch

STAGE_TAG = "spillway:stage"


def launch_tags(stage: str, launch: Launch) -> dict[str, str]:
    """All machines of a launch share them, so `spillway:host` is the launch id; the host is that and ami-launch-index."""
    return {
        STAGE_TAG: stage,
        "spillway:pool": launch.pool,
        "spillway:host": launch.id,
        "spillway:launch": launch.id,
        "Name": f"spillway-{stage}/{launch.pool}",
    }
