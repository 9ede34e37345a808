"""`GET /_status` of the front: what the embedded cloud has counted, and which machines run. For those who measure.

    {"calls": {"ec2:RunInstances": 1, …}, "functions": [FunctionStats, …], "machines": ["i-…", …], "isolation": "namespaces"}
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

from localcloud.front import Front
from localcloud.instances.fleet import Fleet
from localcloud.lambdas.functions import Functions

PATH = "/_status"


class StatusRoute:
    """Answers with counters; counting is done elsewhere."""

    def __init__(self, front: Front, functions: Functions, fleet: Fleet) -> None:
        self._front, self._functions, self._fleet = front, functions, fleet
        front.mount(PATH, self.app)

    def document(self) -> dict[str, Any]:
        """The counters now."""
        return {
            "calls": {f"{service}:{action}": n for (service, action), n in sorted(self._front.calls.items())},
            "functions": [asdict(stats) for stats in self._functions.stats()],
            "machines": self._fleet.alive(),
            "isolation": self._fleet.isolation,
        }

    def app(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """WSGI."""
        body = json.dumps(self.document()).encode()
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]
