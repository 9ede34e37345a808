"""Where things are on a host. `root` is $SPILLWAY_ROOT, normally empty."""

from __future__ import annotations

import os
from typing import NamedTuple


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
    def installs(self) -> str:
        """What jobs' install scripts were run in, named by their versions."""
        return self.state + "/installs"

    @property
    def work(self) -> str:
        """One folder for each attempt that is being run."""
        return self.state + "/work"

    @property
    def saving(self) -> str:
        """Checkpoints on their way."""
        return self.state + "/saving"

    @property
    def run(self) -> str:
        return self.root + "/run/spillway"


def from_environment() -> Paths:
    """The places of this host."""
    return Paths(os.environ.get("SPILLWAY_ROOT", "").rstrip("/"))


class AttemptPaths(NamedTuple):
    """Where one attempt lives on the host: all of it below `top`, which goes when the attempt ends."""

    top: str

    @property
    def work(self) -> str:
        """The work folder, which the command finds at its assignment's `folder`."""
        return self.top + "/work"

    @property
    def tmp(self) -> str:
        """The command's own /tmp."""
        return self.top + "/tmp"

    @property
    def checkpoint(self) -> str:
        """What its command wants to be kept for the next attempt."""
        return self.top + "/checkpoint"

    @property
    def thawing(self) -> str:
        """Processes of an earlier attempt that are to go on."""
        return self.top + "/criu"

    @property
    def door(self) -> str:
        """The socket on which its command speaks to us, and the program for that."""
        return self.top + "/door"

    @property
    def kept(self) -> str:
        """What the next agent must know of its progress and checkpoints."""
        return self.top + "/kept.json"

    @property
    def image(self) -> str:
        """A note of the image that its container runs in."""
        return self.top + "/image"

    @property
    def log(self) -> str:
        """What it has printed, as far as it is kept on the host."""
        return self.top + "/log"

    @property
    def output(self) -> str:
        """The pipe into which it prints."""
        return self.top + "/output"

    @property
    def ended(self) -> str:
        """The pipe through which its minder says that it has ended."""
        return self.top + "/ended"

    @property
    def minder(self) -> str:
        """Its minder's process id and its exit code."""
        return self.top + "/minder"


def attempt_paths(paths: Paths, job: str, attempt: int) -> AttemptPaths:
    """Of attempt number `attempt` of `job`."""
    return AttemptPaths(os.path.join(paths.work, "%s.%d" % (job, attempt)))
