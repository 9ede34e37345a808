"""A thousand single-job hosts: how many RunInstances calls, how fast, how close to EC2's limits, and what a crash anywhere leaves.

    python -m bench.launch [--json] [--hosts N] [--crash-hosts N] [--points N] [--only deployed|crashes]

Two halves, since no crash can be put between any two calls of a deployed function:

- `deployed`: the embedded cloud, bootstrapped and deployed to for real, is given the jobs over HTTP. Functions plan and launch;
  EC2 throttles by its own buckets; tables, queues and EC2 are moto behind the embedded cloud's front. The instances are recorded,
  tagged and listed, but do not boot: a thousand sandboxes are too much for a laptop. All jobs wait in the backlog when scaling is
  switched on; `seconds` runs from just before that until the last host's instance is on its row, and requests are counted meanwhile.
- `crashes`: the same code on the memory cloud, whose agents claim and run. Every call of every function from the first submission until the
  last host is launched is tried once as the place where the function dies, with few hosts, in each of six scenarios; and a sample of
  places with all of them. Each time the world goes on until it is quiet.

`run_instances_calls`, `peak_rate` (how much of EC2's bucket of 5 + 2/s was in use at most), `peak_rate_under` (how much was left),
`throttled` (calls that EC2 refused) and the DynamoDB requests are the deployed half's; `crash_points`, `duplicates` (attempts begun twice,
and machines beyond one a job) and `leaked` (machines, rows and jobs that do not end) the other's.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from bench import embedded, launch_crashes
from bench.embedded import Say

HOSTS, CRASH_HOSTS, POINTS = 1000, 6, 6
POOL = "thousand"
BATCH = 500
WAIT_S = 900.0
BURST, REFILL_PER_S = 5.0, 2.0  # EC2's own


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.launch", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--json", action="store_true", help="one JSON document instead of sentences")
    parser.add_argument("--hosts", type=int, default=HOSTS)
    parser.add_argument("--crash-hosts", type=int, default=CRASH_HOSTS, help="hosts of the runs that try every point")
    parser.add_argument(
        "--points", type=int, default=POINTS, help="sampled points at which the run with all hosts crashes"
    )
    parser.add_argument("--only", choices=["deployed", "crashes"])
    given = parser.parse_args(arguments)

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    figures: dict[str, Any] = {"hosts": given.hosts}
    if given.only != "crashes":
        figures |= deployed(given.hosts, say)
    if given.only != "deployed":
        with muted():
            figures |= launch_crashes.measure(given.crash_hosts, given.hosts, given.points, say)
    if given.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name}: {value}")
    good = not figures.get("duplicates") and not figures.get("leaked") and figures.get("run_instances_calls", 0) <= 20
    return 0 if good else 1


# -- the deployed half


def deployed(hosts: int, say: Say) -> dict[str, Any]:
    """Plan and launch so many hosts on the deployed system."""
    with embedded.deployed(say) as (cloud, client, _):
        return _launch(cloud, client, hosts, say)


def _launch(cloud: Any, client: Any, hosts: int, say: Say) -> dict[str, Any]:
    offering = {"region": "us-east-1", "instance_type": "c7i.large"}
    client.put_pool(
        POOL,
        {
            "offerings": [offering],
            "hosts_max": hosts,
            "slots_per_host": 1,
            "boot_timeout_s": 3600,
            "scaling_enabled": False,
        },
    )
    for fault in ({"kind": "no_boot"}, {"kind": "ec2_buckets"}):
        _post_fault(cloud, fault)
    spec = {"command": "true", "pool": POOL, "timeout_s": 60}
    submitted = time.time()
    for first in range(0, hosts, BATCH):
        client.submit_many([spec] * min(BATCH, hosts - first))
    say(f"{hosts} jobs submitted in {time.time() - submitted:.1f} s")
    rows = _Rows(cloud)
    calls_before = cloud.counters()["calls"]
    began = time.time()
    client.patch_pool(POOL, {"scaling_enabled": True})
    while (there := rows()) < hosts:
        if time.time() - began > WAIT_S:
            raise SystemExit(f"only {there} of {hosts} hosts after {WAIT_S:.0f} s")
        time.sleep(1.0)
    seconds = time.time() - began
    calls = cloud.counters()["calls"]
    spent = {name: count - calls_before.get(name, 0) for name, count in calls.items()}
    bucket = _bucket(cloud)
    dynamodb = sum(count for name, count in spent.items() if name.startswith("dynamodb:")) - rows.asked
    stages = [i for page in _instances(cloud) for i in page]
    return {
        "run_instances_calls": spent["ec2:RunInstances"],
        "seconds": round(seconds, 1),
        "instances": len(stages),
        "instances_boot": False,
        "peak_rate": round(BURST - bucket["least"], 2),
        "peak_rate_under": round(bucket["least"], 2),
        "throttled": bucket["refused"],
        "dynamodb_requests": dynamodb,
        "dynamodb_requests_per_host": round(dynamodb / hosts, 2),
        "s3_puts": spent.get("s3:PutObject", 0),
        "passes": next((f["invocations"] for f in cloud.counters()["functions"] if f["name"].endswith("-wakes")), None),
    }


class _Rows:
    """How many hosts have their instance on their row; counts what it costs to ask, which is not the product's."""

    def __init__(self, cloud: Any) -> None:
        self._table = cloud.aws("dynamodb")
        self.asked = 0

    def __call__(self) -> int:
        found, start = 0, None
        while True:
            self.asked += 1
            answer = self._table.query(
                TableName="spillway-local-hosts",
                KeyConditionExpression="#p = :p",
                FilterExpression="attribute_exists(instance_id)",
                ExpressionAttributeNames={"#p": "pool"},
                ExpressionAttributeValues={":p": {"S": POOL}},
                Select="COUNT",
                ConsistentRead=True,
                **({"ExclusiveStartKey": start} if start else {}),
            )
            found += int(answer["Count"])
            if (start := answer.get("LastEvaluatedKey")) is None:
                return found


def _instances(cloud: Any) -> Iterator[list[str]]:
    for page in cloud.aws("ec2").get_paginator("describe_instances").paginate():
        yield [i["InstanceId"] for r in page["Reservations"] for i in r["Instances"]]


def _post_fault(cloud: Any, fault: dict[str, Any]) -> None:
    import httpx

    httpx.post(f"{os.environ['AWS_ENDPOINT_URL']}/_faults", json=fault, timeout=10).raise_for_status()


def _bucket(cloud: Any) -> dict[str, Any]:
    """EC2's own view of its request bucket for RunInstances."""
    import httpx

    listed = httpx.get(f"{os.environ['AWS_ENDPOINT_URL']}/_faults", timeout=10).raise_for_status().json()
    buckets = next(entry["buckets"] for entry in listed["items"] if entry["kind"] == "ec2_buckets")
    return dict(next(b for b in buckets if (b["action"], b["of"]) == ("RunInstances", "request")))


@contextmanager
def muted() -> Iterator[None]:
    """Functions log and count; here nobody reads it."""
    logging.disable(logging.CRITICAL)
    out = sys.stdout
    try:
        with open(os.devnull, "w") as nowhere:
            sys.stdout = nowhere
            yield
    finally:
        sys.stdout = out
        logging.disable(logging.NOTSET)


if __name__ == "__main__":
    raise SystemExit(main())
