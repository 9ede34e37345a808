"""EC2's own view of one of our instances, as a list of theirs told it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """`state` is EC2's word: pending, running, shutting-down, terminated, stopping, stopped."""

    id: str
    region: str
    state: str
    launched_at: float
    launch_index: int
    instance_type: str = ""
    tags: Mapping[str, str]

    @property
    def launch(self) -> str:
        """The launch that asked for it, from its tag; empty if it has none."""
        return self.tags.get("spillway:launch", "")
