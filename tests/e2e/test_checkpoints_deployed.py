"""EC2 takes a spot host back in the middle of a job: it goes on elsewhere from what was kept, and its answer is the right one."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx
import pytest
from deployed_once import Deployed

from spillway.client import Client
from spillway.records import Job

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

SPOT = {"region": "us-east-1", "instance_type": "c7i.large", "market": "spot"}
BACKUP = {"region": "us-east-1", "instance_type": "m7i.large", "market": "on_demand"}
# Adds up 1 … 10, a step at a time. The first attempt stops at 5 until it is warned, and writes the sixth step in the time that it then has.
SUM = """cd $SPILLWAY_CHECKPOINT_DIR
if [ -e state ]; then read n sum < state; else n=0 sum=0; fi
echo "attempt $SPILLWAY_ATTEMPT begins after step $n"
while [ $n -lt 10 ]; do
    if [ $n = 5 ] && [ $SPILLWAY_ATTEMPT = 1 ]; then
        while [ ! -e $SPILLWAY_INTERRUPTION ]; do sleep 0.05; done
    fi
    n=$((n+1)) sum=$((sum+n))
    echo $n $sum > .state && mv .state state
    spillway-agent progress $((n * 10)) "step $n"
    if [ $n = 6 ] && [ $SPILLWAY_ATTEMPT = 1 ]; then sleep 100; fi
done
echo "$sum" > $OLDPWD/sum.json"""


def until(spillway: Client, job: str, holds: Callable[[Job], bool], limit_s: float = 90.0) -> Job:
    end = time.monotonic() + limit_s
    while True:
        now = spillway.job(job)
        if holds(now):
            return now
        assert time.monotonic() < end, now
        time.sleep(0.2)


def test_an_interrupted_job_goes_on_elsewhere_from_its_checkpoint(deployed: Deployed) -> None:
    spillway, pool = deployed.client, "checkpoints"
    settings = {"offerings": [SPOT, BACKUP], "hosts_max": 2, "linger_s": 5, "ping_every_s": 1}
    spillway.put_pool(pool, settings)
    job = spillway.submit(
        SUM, timeout_s=120, pool=pool, max_attempts=2, result="sum.json", checkpoint={"interval_s": 3600}, stall_s=2
    ).id
    stalled = until(spillway, job, lambda now: bool(now.progress and now.progress["stalled_since"]))
    assert stalled.progress is not None
    assert (stalled.progress["percent"], stalled.progress["note"]) == (50.0, "step 5")
    assert any(sentence.startswith("It has stalled") for sentence in spillway.why(job).sentences)
    host = next(host for host in spillway.hosts(pool) if host.id == stalled.host)
    endpoint = str(deployed.cloud.aws("s3").meta.endpoint_url)
    fault = {"kind": "interrupt", "instance_id": host.instance_id, "in_s": 8}
    httpx.post(f"{endpoint}/_faults", json=fault, timeout=30).raise_for_status()
    ended = until(spillway, job, lambda now: now.ended, 120)
    assert (ended.state, ended.attempt, ended.result) == ("succeeded", 2, 55), ended
    assert ended.host != stalled.host
    assert "attempt 2 begins after step 6\n" in spillway.log(job).text
    story = [(line.event, line.reason) for line in spillway.story(job)]
    assert any(event == "running" and "continues from the checkpoint" in reason for event, reason in story), story
    assert "stalled" in [event for event, _ in story]
