"""The deployed system where machines are short, dear, slow to be listed, or never come up: every job still ends exactly once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from deployed_town import Town, deployed, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

ZONES = "abcdf"
SETTINGS = {
    "hosts_max": 4,
    "slots_per_host": 1,
    "linger_s": 1,
    "ping_every_s": 1,
    "missed_pings_s": 10,
    "boot_timeout_s": 300,
}
SPOT = {"region": "us-east-1", "instance_type": "c7i.large", "market": "spot"}
BACKUP = {"region": "us-east-1", "instance_type": "m7i.large", "market": "on_demand"}


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with deployed(tmp_path_factory.mktemp("shortage")) as found:
        yield found


@pytest.fixture
def pool(town: Town, request: pytest.FixtureRequest) -> Iterator[str]:
    """A pool of the test's own; afterwards nothing is short, and its hosts go away by themselves."""
    name = request.node.name.removeprefix("test_").replace("_", "-")[:30].strip("-")
    answer = town.api.put(f"pools/{name}", json=SETTINGS | {"sandbox": "none", "offerings": [SPOT, BACKUP]})
    assert answer.status_code == 200, answer.text
    yield name
    town.no_faults()


def submit(town: Town, pool: str, count: int, command: str = "echo ran", **spec: Any) -> list[str]:
    job = {"pool": pool, "command": command, "timeout_s": 30, "cpu": 0.1, "memory_mib": 64, "untrusted": False} | spec
    answer = town.api.post("jobs/batch", json={"jobs": [job] * count})
    assert answer.status_code == 201, answer.text
    return [each["id"] for each in answer.json()["items"]]


def set_to(town: Town, kind: str, **fields: Any) -> None:
    answer = town.fault(kind, **fields)
    assert answer.status_code == 200, answer.text


def types_of(town: Town, pool: str) -> list[str]:
    """The instance types of all hosts that the pool ever had."""
    hosts = town.api.get(f"pools/{pool}/hosts").raise_for_status().json()["items"]
    return [host["offering"].split("/")[2] for host in hosts]


def test_what_spot_lacks_the_backup_gives(town: Town, pool: str) -> None:
    """Spot has one machine for three jobs: a launch is fulfilled partly, and nothing waits for ever."""
    set_to(town, "capacity", instance_type="c7i.large", market="spot", instances=1)
    jobs = town.ended(submit(town, pool, 3, "sleep 2; echo ran"), 90, tick_every_s=4)
    assert [job["state"] for job in jobs] == ["succeeded"] * 3, jobs
    assert {"c7i.large", "m7i.large"} <= set(types_of(town, pool))


def test_lists_that_lag_and_throttled_launches_lose_and_repeat_nothing(town: Town, pool: str) -> None:
    """New machines are not listed for 4 s, ended ones are for 4 s, and EC2's buckets are in force: one attempt each, one run each."""
    set_to(town, "slow_listing", launched_s=4, ended_s=4)
    set_to(town, "ec2_buckets", speed=1)
    jobs = town.ended(submit(town, pool, 6, "echo ran >> ran; cat ran"), 120, tick_every_s=3)
    assert [(job["state"], job["attempt"], town.log(job["id"])) for job in jobs] == [("succeeded", 1, "ran\n")] * 6


def test_a_job_outlives_the_price_that_takes_its_machine(town: Town, pool: str) -> None:
    """Spot passes the on-demand price in all zones: the warning comes, the job goes on elsewhere, and its interruption is told."""
    for zone in ZONES:
        set_to(
            town,
            "spot_price",
            zone=f"us-east-1{zone}",
            instance_type="c7i.large",
            price=0.03,
            on_demand=0.09,
            warning_s=2,
        )
    (job,) = submit(town, pool, 1, "sleep 4; echo ran", max_attempts=3)
    eventually(lambda: town.jobs([job])[0]["state"] == "running", 60)
    for zone in ZONES:
        set_to(town, "spot_price", zone=f"us-east-1{zone}", instance_type="c7i.large", price=0.5)
    (ended,) = town.ended([job], 120, tick_every_s=4)
    assert (ended["state"], town.log(job)) == ("succeeded", "ran\n"), ended
    assert "m7i.large" in types_of(town, pool), "spot costs more than its limit now"
