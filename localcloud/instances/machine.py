"""One machine as the fleet sees it: EC2's states of it, and what happened to it."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from socket import socket
from typing import Any, Literal

# What becomes of a launched machine: "silent" is running for EC2, and nothing runs on it; "terminated" is what EC2 gives up.
Boots = Literal["normally", "silent", "terminated"]

# State, event: next state. An event that a state does not list is late news, and ignored.
TRANSITIONS: dict[str, dict[str, str]] = {
    "pending": {"up": "running", "terminate": "shutting-down", "stop": "stopping", "gone": "terminated"},
    "running": {"terminate": "shutting-down", "stop": "stopping"},
    "shutting-down": {"gone": "terminated"},
    "stopping": {"gone": "stopped", "terminate": "shutting-down"},
    "stopped": {"start": "pending", "terminate": "terminated"},
    "terminated": {},
}
STATE_CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}


@dataclass
class Machine:
    """`instance` is moto's record of it. Paths are the host's. Times are epoch seconds."""

    id: str
    region: str
    instance: Any
    folder: Path
    user_data: bytes
    metadata_port: int = 0
    state: str = "pending"
    channel: socket | None = None  # to its first process, while it runs
    received: bytes = b""
    booted: bool = False  # has booted before: its user data is not run again
    restarting: bool = False  # its end is a reboot
    registered_at: float | None = None  # with Run Command
    user_data_exit: int | None = None
    interrupt_at: float | None = None
    rebalance_at: float | None = None
    boots: Boots = "normally"
    lost: bool = False
    ended_at: float | None = None  # when it left `ended_from` to stop or terminate
    ended_from: str = ""
    launched_at: float = field(default_factory=time.time)
    credentials: dict[str, Any] = field(default_factory=dict)  # by role

    @property
    def instance_type(self) -> str:
        """Its instance type."""
        return str(self.instance.instance_type)

    @property
    def zone(self) -> str:
        """Its availability zone."""
        return str(self.instance.availability_zone)

    @property
    def market(self) -> str:
        """ "spot" or "on_demand"."""
        return "spot" if self.instance.lifecycle == "spot" else "on_demand"

    @property
    def max_price(self) -> float | None:
        """What its spot request would pay at most, USD an hour; None when the request did not say."""
        price: float | None = getattr(self.instance, "spot_max_price", None)
        return price

    @property
    def disk(self) -> Path:
        """The folder that is its root."""
        return self.folder / "disk"

    @property
    def console(self) -> Path:
        """What its processes wrote to the console."""
        return self.folder / "console.log"

    @property
    def profile_arn(self) -> str | None:
        """Its instance profile."""
        profile = getattr(self.instance, "iam_instance_profile", None)
        return profile["Arn"] if profile else None

    def next_state(self, event: str) -> str | None:
        """The state that `event` leads to, or None when it means nothing now."""
        return TRANSITIONS[self.state].get(event)
