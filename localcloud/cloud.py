"""The embedded cloud, composed: every part is made here, with what it needs, and nothing is global.

Order matters twice. Interceptors registered first stand outermost, so faults come before the bridges of moto's gaps. And parts stop in
the reverse order of their start: what makes work first (sources), then what does work (functions, instances), the door last, because
whoever shuts down may still want to say goodbye.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Protocol

from localcloud.asg import AutoScaling
from localcloud.faults import Faults
from localcloud.front import Front
from localcloud.gaps import apigateway_import, install_all
from localcloud.iam import Authorizer
from localcloud.identity import Identities
from localcloud.instances.fleet import Fleet, FleetOptions
from localcloud.lambdas.functions import Functions
from localcloud.rest import RestApi
from localcloud.signatures import SignatureGuard
from localcloud.sources.eventbridge import EventBus
from localcloud.sources.hooks import Hooks
from localcloud.sources.schedules import Schedules
from localcloud.sources.sns import SnsSources
from localcloud.sources.sqs import SqsSources
from localcloud.status_route import StatusRoute

__all__ = ["Cloud", "apigateway_import"]

log = logging.getLogger("localcloud")


class Part(Protocol):
    """Something that runs from start() to stop()."""

    def start(self) -> None: ...
    def stop(self) -> None: ...


class Cloud:
    """One AWS account on 127.0.0.1. `front.url` is its endpoint; everything it keeps is below `state_dir`.

    `schedule_speed` runs rates and crons faster than the clock; `fleet` says how instances are isolated and how slowly they boot.
    """

    def __init__(
        self, state_dir: Path, *, port: int = 0, schedule_speed: float = 1.0, fleet: FleetOptions | None = None
    ) -> None:
        state_dir.mkdir(parents=True, exist_ok=True)
        self.state_dir = state_dir
        self.identities = Identities()
        self.authorizer = Authorizer()
        self.front = Front(self.identities, [SignatureGuard(self.identities), self.authorizer], port)
        self.faults = Faults(self.front)
        self._hooks = Hooks()
        install_all(self.front, self._hooks, self.authorizer, self.identities)
        self.functions = Functions(self.front, self.identities, state_dir)
        self.bus = EventBus(self.functions)
        self.schedules = Schedules(self.functions, speed=schedule_speed)
        self.sns = SnsSources(self.functions)
        self.sqs = SqsSources(self.functions, self.front)
        self.rest = RestApi(self.front, self.functions)
        self.fleet = Fleet(self.front, self.identities, state_dir, self.bus.publish, fleet)
        self.groups = AutoScaling(self.front, self.bus.publish)
        self.faults.connect(self.fleet, self.functions, self._hooks)
        self.front.mount("/_iam", self.authorizer.app)
        self.status = StatusRoute(self.front, self.functions, self.fleet, self.rest)
        self._parts: list[tuple[str, Part]] = [
            ("front", self.front),
            ("functions", self.functions),
            ("instances", self.fleet),
            ("faults", self.faults),
            ("groups", self.groups),
            ("rest", self.rest),
            ("events", self.bus),
            ("notifications", self.sns),
            ("queues", self.sqs),
            ("schedules", self.schedules),
        ]
        self._started: list[tuple[str, Part]] = []

    def start(self) -> None:
        """Start every part; when one fails, those started before it are stopped again and its error is raised."""
        for name, part in self._parts:
            self._started.append((name, part))
            try:
                part.start()
            except BaseException:
                log.exception("a part does not start part=%s", name)
                self.stop()
                raise

    def stop(self) -> None:
        """Stop every part, the last started first; one that fails to stop does not keep the others."""
        while self._started:
            name, part = self._started.pop()
            try:
                part.stop()
            except Exception:
                log.exception("a part does not stop part=%s", name)
        self._hooks.restore()

    def __enter__(self) -> Cloud:
        self.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.stop()
