"""What a submission costs: the handler's own time, AWS requests, and how long 10,000 elements take to be accepted.

    python -m bench.submit [--json] [--only handler|requests|array]

- `handler_cpu_ms`: processor time of one `POST /jobs` in the real app - Chalice's routing, decoding, validation, the decision, the answer -
  on stores and a cloud in memory, so that nothing of it is an AWS call: the median of many. `handler_aws_cpu_ms`: the same with the
  real stores and clients against moto in another process; the difference is what PynamoDB and botocore take to speak.
- `requests_single`, `requests_batch_100`: AWS requests of a submission as `spillway.Client` sends it, with an idempotency key of its
  own making; `_foreign_key`: with a key that somebody else chose; `_unkeyed`: with none. A process that has served one request before:
  pool, family and token are remembered.
- `array_10000_s`: from the request to the answer, on the deployed embedded cloud.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import embedded
from bench.embedded import Say
from bench.launch import muted

SINGLES, BATCH, ELEMENTS = 400, 100, 10_000
POOL = "submit"
OFFERING = {"region": "us-east-1", "instance_type": "c7i.large"}
SPEC = {
    "command": "./grade.sh alice",
    "pool": POOL,
    "timeout_s": 60,
    "environment": {"STUDENT": "alice"},
    "inputs": [{"path": "tests", "sha256": "ab" * 32, "unpack": True}, {"path": "params.json", "text": '{"seed": 3}'}],
    "outputs": ["report/*.html"],
    "result": "result.json",
    "labels": {"course": "cs101", "exercise": "3"},
}
CPU_MS_MAX, REQUESTS_SINGLE_MAX, ARRAY_S_MAX = 5.0, 4, 10.0
Key = Callable[[int], dict[str, str]]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.submit", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON document instead of sentences")
    parser.add_argument("--only", choices=["handler", "requests", "array"])
    given = parser.parse_args(arguments)

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    figures: dict[str, Any] = {}
    if given.only in (None, "handler"):
        figures |= handler()
    if given.only in (None, "requests", "array"):
        with embedded.deployed(say) as (_, client, project):
            client.put_pool(POOL, {"offerings": [OFFERING], "scaling_enabled": False})
            if given.only != "array":
                figures |= requests(project)
            if given.only != "requests":
                figures |= array(client, say)
    if given.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name}: {value}")
    return 0 if _good(figures) else 1


def _good(figures: dict[str, Any]) -> bool:
    limits = {
        "handler_cpu_ms": CPU_MS_MAX,
        "requests_single": REQUESTS_SINGLE_MAX,
        "requests_batch_100": 2 * BATCH + 2,
        "array_10000_s": ARRAY_S_MAX,
    }
    return all(figures[name] <= limit for name, limit in limits.items() if name in figures)


# -- the handler alone


def handler() -> dict[str, Any]:
    """Processor time of `POST /jobs` where nothing is an AWS call."""
    from chalicelib.cloud.memory import memory_cloud
    from chalicelib.config import Settings
    from chalicelib.core.pool import PoolSpec
    from chalicelib.store.memory import memory_stores
    from chalicelib.store.told import told
    from chalicelib.wiring import Plane

    stores = told(memory_stores())
    stores.registry.put_pool(POOL, PoolSpec(), version=None)
    cloud = memory_cloud(time.time, stage="local")
    with served(Plane(settings=Settings(stage="local"), stores=stores, cloud=cloud)) as post:
        took = _cpu_ms(post)
    return {"handler_cpu_ms": round(statistics.median(took), 3), "handler_cpu_ms_p95": _p95(took)}


def _cpu_ms(post: Callable[[str, Any], Any]) -> list[float]:
    """One number for each of the submissions; the first ones, which import and fill caches, are not among them."""
    took = []
    for number in range(SINGLES + 20):
        document = SPEC | ours(number)
        began = time.process_time()
        post("/jobs", document)
        took.append((time.process_time() - began) * 1000)
    return took[20:]


def _p95(took: Sequence[float]) -> float:
    return round(sorted(took)[int(len(took) * 0.95)], 3)


# -- AWS requests


def requests(project: Path) -> dict[str, Any]:
    """What the real stores and clients ask of the embedded cloud, when this process has served one request before."""
    from botocore.session import get_session

    from chalicelib import config
    from chalicelib.cloud.aws import aws_cloud
    from chalicelib.store.open import dynamo_stores
    from chalicelib.store.told import told
    from chalicelib.wiring import Plane

    stage = json.loads((project / ".chalice" / "config.json").read_text())["stages"]["local"]
    os.environ.update(stage["environment_variables"])
    settings, session = config.from_environment(), get_session()
    stores, cloud = dynamo_stores(settings, session=session), aws_cloud(settings, session=session)
    plane = Plane(settings=settings, stores=told(stores), cloud=cloud)
    figures: dict[str, Any] = {}

    def asked() -> int:
        return stores.requests.total + sum(cloud.requests.counts().values())

    with served(plane) as post:
        for name, key in (("", ours), ("_foreign_key", foreign), ("_unkeyed", unkeyed)):
            post("/jobs", SPEC | key(-1))
            before = asked()
            post("/jobs", SPEC | key(0))
            figures[f"requests_single{name}"] = asked() - before
            before = asked()
            post("/jobs/batch", {"jobs": [SPEC | key(n) for n in range(1, BATCH + 1)]})
            figures[f"requests_batch_{BATCH}{name}"] = asked() - before
        took = _cpu_ms(post)
    return figures | {"handler_aws_cpu_ms": round(statistics.median(took), 3)}


# -- an array


def array(client: Any, say: Say) -> dict[str, Any]:
    """How long until an array of 10,000 elements, each with parameters of its own, is accepted over HTTP."""
    began = time.perf_counter()
    made = client.arrays.submit(
        SPEC | {"name": "bench"}, elements=[{"seed": n, "graph": f"g{n:06d}.zip"} for n in range(ELEMENTS)]
    )
    seconds = time.perf_counter() - began
    say(f"array {made.id} accepted")
    return {"array_10000_s": round(seconds, 2)}


# -- requests to the app, as API Gateway makes them


def ours(number: int) -> dict[str, str]:
    """A key as `spillway.Client` makes it."""
    return {"idempotency_key": f"at-{int(time.time() * 1000):013d}-{os.urandom(16).hex()}-{number}"}


def foreign(number: int) -> dict[str, str]:
    """A key that says nothing to us."""
    return {"idempotency_key": f"k-{os.urandom(16).hex()}-{number}"}


def unkeyed(number: int) -> dict[str, str]:
    """None."""
    return {}


@contextmanager
def served(plane: Any) -> Iterator[Callable[[str, Any], Any]]:
    """The real app on this plane; `post(path, document)` answers like the deployed handler, without its network."""
    with muted():
        import app
        from chalicelib import wiring

        real = wiring.plane
        vars(wiring)["plane"] = lambda: plane

        def post(path: str, document: Any) -> Any:
            answer = app.app(_event(path, json.dumps(document)), None)
            if answer["statusCode"] >= 300:
                raise SystemExit(f"{path} answered {answer['statusCode']}: {answer['body']}")
            return answer

        try:
            yield post
        finally:
            vars(wiring)["plane"] = real


def _event(path: str, body: str) -> dict[str, Any]:
    return {
        "httpMethod": "POST",
        "resource": path,
        "path": path,
        "headers": {"content-type": "application/json"},
        "multiValueQueryStringParameters": None,
        "pathParameters": None,
        "stageVariables": None,
        "body": body,
        "isBase64Encoded": False,
        "requestContext": {
            "resourcePath": path,
            "httpMethod": "POST",
            "identity": {"sourceIp": "127.0.0.1"},
            "authorizer": {"role": "submitter", "owner": "cs101", "principalId": "cs101"},
        },
    }


if __name__ == "__main__":
    raise SystemExit(main())
