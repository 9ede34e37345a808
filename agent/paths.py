"""Where things are on a host. `root` is $SPILLWAY_ROOT, normally empty."""

from __future__ import annotations

import os


class Paths:
    """All of the agent's own places under one root."""

    def __init__(self, root: str) -> None:
        self.root = root

    @property
    def state(self) -> str:
        """Everything that survives a restart."""
        return self.root + "/var/lib/spillway"

    @property
    def manifest(self) -> str:
        return self.state + "/manifest.json"

    @property
    def index(self) -> str:
        return self.state + "/index"

    @property
    def journal(self) -> str:
        return self.state + "/journal"

    @property
    def cache(self) -> str:
        """Fetched inputs, named by their SHA-256."""
        return self.state + "/cache"

    @property
    def work(self) -> str:
        """One folder for each attempt that is being run."""
        return self.state + "/work"

    @property
    def run(self) -> str:
        return self.root + "/run/spillway"


def from_environment() -> Paths:
    """The places of this host."""
    return Paths(os.environ.get("SPILLWAY_ROOT", "").rstrip("/"))
