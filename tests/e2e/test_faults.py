"""The deployed system in a cloud that misbehaves: every accepted job ends exactly once, and nothing is left running.

Faults come from the embedded cloud's own switch, while jobs run. How often a command really ran is counted by what it wrote itself.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from typing import Any

import pytest
from deployed_town import Town, deployed, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

long = pytest.mark.skipif("SPILLWAY_LONG" not in os.environ, reason="takes a minute: set SPILLWAY_LONG=1")
FUNCTIONS = ("wakes", "heartbeats", "timers", "submissions")
POOL = {
    "hosts_max": 3,
    "slots_per_host": 2,
    "linger_s": 1,
    "ping_every_s": 1,
    "missed_pings_s": 10,
    "boot_timeout_s": 300,
}


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with deployed(tmp_path_factory.mktemp("faults")) as found:
        yield found


@pytest.fixture
def pool(town: Town, request: pytest.FixtureRequest) -> Iterator[str]:
    """A pool of the test's own; at its end no fault is set, and the pool's hosts go away by themselves."""
    name = request.node.name.removeprefix("test_").replace("_", "-")[:30].strip("-")
    market = {"region": "us-east-1", "instance_type": "c7i.large", "market": "spot"}
    backup = market | {"instance_type": "m7i.large", "market": "on_demand"}
    answer = town.api.put(f"pools/{name}", json=POOL | {"sandbox": "none", "offerings": [market, backup]})
    assert answer.status_code == 200, answer.text
    yield name
    town.no_faults()


def submit(town: Town, pool: str, count: int, command: str = "echo ran", **spec: Any) -> list[str]:
    """A batch, accepted as a whole."""
    jobs = [
        {"pool": pool, "command": command, "timeout_s": 20, "cpu": 0.1, "memory_mib": 64, "untrusted": False} | spec
        for _ in range(count)
    ]
    for _ in range(20):
        answer = town.api.post("jobs/batch", json={"jobs": jobs})
        if answer.status_code == 201:
            return [job["id"] for job in answer.json()["items"]]
        assert answer.status_code in (429, 500, 502, 503), answer.text
    raise AssertionError(f"never accepted: {answer.status_code} {answer.text}")


def finals(town: Town, job: str) -> list[str]:
    """The final states that the job's story tells."""
    items = town.api.get(f"jobs/{job}/story").raise_for_status().json()["items"]
    ends = ("succeeded", "failed", "timed_out", "cancelled", "lost", "skipped")
    return [line["event"] for line in items if line["event"] in ends]


def gone(town: Town) -> bool:
    """No instance is left, neither in EC2's records nor as processes."""
    return not [s for s in town.cloud.instance_states() if s != "terminated"] and not town.cloud.machines_alive()


def all_gone(town: Town, within_s: float = 45) -> None:
    """Wait for the fleet to be back at zero."""
    try:
        eventually(lambda: gone(town), within_s)
    except AssertionError:
        pools = [p["name"] for p in town.api.get("pools").json()["items"]]
        hosts = [(h["id"], h["state"], h["reason"]) for p in pools for h in town.hosts(p)]
        raise AssertionError(f"{town.cloud.instance_states()} {town.cloud.machines_alive()} {hosts}") from None


def test_refused_capacity_goes_to_the_next_offering(town: Town, pool: str) -> None:
    """Spot is out of stock: on-demand runs it, and the wait has a sentence meanwhile."""
    assert town.fault("refuse_capacity", market="spot").status_code == 200
    jobs = town.ended(submit(town, pool, 4), 60, tick_every_s=4)
    assert [job["state"] for job in jobs] == ["succeeded"] * 4, jobs
    assert {host["offering"].split("/")[2] for host in town.api.get(f"pools/{pool}/hosts").json()["items"]} >= {
        "m7i.large"
    }


def test_throttled_calls_lose_nothing(town: Town, pool: str) -> None:
    """DynamoDB, SQS, SSM and S3 each refuse some calls, at the door and inside."""
    for service, count in (("dynamodb", 12), ("sqs", 6), ("ssm", 2), ("s3", 3)):
        assert town.fault("throttle", service=service, count=count).status_code == 200
    first = submit(town, pool, 6)
    for service, count in (("dynamodb", 8), ("sqs", 4), ("s3", 2)):
        town.fault("throttle", service=service, count=count)
    jobs = town.ended(first + submit(town, pool, 4), 90, tick_every_s=4)
    assert [job["state"] for job in jobs] == ["succeeded"] * 10, [job["reason"] for job in jobs]


def test_messages_that_come_late_and_twice_run_nothing_twice(town: Town, pool: str) -> None:
    """Every queue of the stage delivers late, and the standard ones twice."""
    assert town.fault("duplicate_messages", count=60).status_code == 200
    assert town.fault("delay_messages", seconds=1.5, count=20).status_code == 200
    ids = submit(town, pool, 8, "echo ran >> ran; cat ran")
    jobs = town.ended(ids, 60, tick_every_s=4)
    assert [(job["state"], job["attempt"], town.log(job["id"])) for job in jobs] == [("succeeded", 1, "ran\n")] * 8
    assert all(len(finals(town, job)) <= 1 for job in ids)


def test_killed_functions_lose_nothing(town: Town, pool: str) -> None:
    """Lambda dies in the middle of passes and pings; what was not acknowledged comes again."""
    ids = []
    for _ in range(4):
        ids += submit(town, pool, 2, "sleep 0.3; echo ran")
        for function in FUNCTIONS:
            town.fault("kill_function", function=f"spillway-local-{function}")
            time.sleep(0.1)  # so that they die at different moments of their work
    jobs = town.ended(ids, 100, tick_every_s=4)
    assert [job["state"] for job in jobs] == ["succeeded"] * 8, [(job["state"], job["reason"]) for job in jobs]


@long
def test_lost_hosts_and_interruptions_cost_only_what_ran_there(town: Town, pool: str) -> None:
    """With one attempt a job that ran is lost, and said to be; with more it runs again elsewhere; what waited is not touched."""
    single = submit(town, pool, 2, "sleep 15; echo ran", max_attempts=1)
    again = submit(town, pool, 2, "test -e $TMPDIR/x; sleep 2; echo ran", max_attempts=3)

    def running() -> list[str]:
        return sorted({job["host"] for job in town.jobs(single + again) if job["state"] == "running" and job["host"]})

    hosts = eventually(running, 30)
    instances = {host["id"]: host["instance_id"] for host in town.hosts(pool)}
    for number, host in enumerate(hosts):
        kind = ("lose_host", "interrupt")[number % 2]
        extra = {} if kind == "lose_host" else {"in_s": 1}
        assert town.fault(kind, instance_id=instances[host], **extra).status_code == 200
    jobs = town.ended(single + again, 100, tick_every_s=4)
    for job in jobs:
        assert job["state"] in ("succeeded", "lost"), job
        assert job["state"] == "succeeded" or job["reason"], job
    assert {job["state"] for job in jobs if job["id"] in again} == {"succeeded"}
    assert all(len(finals(town, job)) <= 1 for job in single + again)


@long
def test_everything_at_once_ends_every_job_and_then_the_fleet(town: Town, pool: str) -> None:
    """A seeded mixture of all faults; afterwards no instance, no process, no message and no open job is left."""
    dice = random.Random(20)
    ids: list[str] = []
    for _ in range(8):
        ids += submit(town, pool, 2, f"sleep {dice.random():.2f}; echo ran", max_attempts=3)
        kind = dice.choice(["throttle", "kill", "delay", "duplicate", "refuse", "lose"])
        if kind == "throttle":
            town.fault("throttle", service=dice.choice(["dynamodb", "sqs", "ec2", "s3"]), count=3)
        elif kind == "kill":
            town.fault("kill_function", function=f"spillway-local-{dice.choice(FUNCTIONS)}")
        elif kind == "delay":
            town.fault("delay_messages", seconds=2, count=3)
        elif kind == "duplicate":
            town.fault("duplicate_messages", count=10)
        elif kind == "refuse":
            town.fault("refuse_capacity", count=1)
        elif hosts := [host["instance_id"] for host in town.hosts(pool) if host["instance_id"]]:
            town.fault("lose_host", instance_id=dice.choice(hosts))
        time.sleep(dice.random() / 2)
    jobs = town.ended(ids, 100, tick_every_s=4)
    assert {job["state"] for job in jobs} <= {"succeeded", "lost"}, [(job["state"], job["reason"]) for job in jobs]
    assert sum(job["state"] == "succeeded" for job in jobs) >= 14, [(job["state"], job["reason"]) for job in jobs]
    assert all(len(finals(town, job)) <= 1 for job in ids)
    town.no_faults()
    all_gone(town)
    for queue in ("submissions", "heartbeats", "timers"):
        assert town.depth(f"{queue}-dead") == 0, queue
