"""`GET /_status` of the front: what the embedded cloud has counted, and which machines run. For those who measure.

{"calls": {"ec2:RunInstances": 1, …}, "functions": [FunctionStats, …], "machines": ["i-…", …], "isolation": "namespaces",
 "api_url": "http://127.0.0.1:…/_rest/…"}    where the deployed API answers; null before there is one
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

from localcloud.front import Front
from localcloud.instances.fleet import Fleet
from localcloud.lambdas.functions import Functions
from localcloud.rest import RestApi

PATH = "/_status"


class StatusRoute:
    """Answers with counters; counting is done elsewhere."""

    def __init__(self, front: Front, functions: Functions, fleet: Fleet, rest: RestApi) -> None:
        self._front, self._functions, self._fleet, self._rest = front, functions, fleet, rest
        front.mount(PATH, self.app)

    def document(self) -> dict[str, Any]:
        """The counters now."""
        return {
            "calls": {f"{service}:{action}": n for (service, action), n in sorted(self._front.calls.items())},
            "functions": [asdict(stats) for stats in self._functions.stats()],
            "machines": self._fleet.alive(),
            "isolation": self._fleet.isolation,
            "api_url": self._rest.api_url(),
        }

    def app(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """WSGI."""
        body = json.dumps(self.document()).encode()
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]
