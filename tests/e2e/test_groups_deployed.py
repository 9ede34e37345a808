"""A pool of Auto Scaling groups on the deployed system: jobs run on hosts that register themselves, and it goes back to zero."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from deployed_once import ROOT, Deployed

from spillway.errors import Refused

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

POOL = "grouped"
SPOT, BACKUP = f"spillway-local-{POOL}-spot", f"spillway-local-{POOL}-on-demand"
OFFERINGS = [
    {"region": "us-east-1", "instance_type": "c7i.large", "market": "spot"},
    {"region": "us-east-1", "instance_type": "m7i.large", "market": "on_demand"},
]
QUICK = {"offerings": OFFERINGS, "linger_s": 2, "scale_in_agree_s": 0, "hosts_max": 4}


def until(look: Callable[[], Any], timeout_s: float = 60.0) -> Any:
    """The first true answer of `look`."""
    deadline = time.monotonic() + timeout_s
    while not (answer := look()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)
    return answer


def make_groups(deployed: Deployed) -> dict[str, Any]:
    """`python -m infra.groups`, as an operator runs it."""
    environment = os.environ | {
        "AWS_ENDPOINT_URL": deployed.cloud.aws("ec2").meta.endpoint_url,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    project = str(deployed.state.parent / "project")
    command = [sys.executable, "-m", "infra.groups", "--stage", "local", "--pool", POOL, "--project-dir", project]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    made: dict[str, Any] = json.loads(done.stdout)
    return made


def group(deployed: Deployed, name: str) -> dict[str, Any]:
    answer = deployed.cloud.aws("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[name])
    (found,) = answer["AutoScalingGroups"]
    return dict(found)


def refuse(deployed: Deployed) -> None:
    """What EventBridge hands over when EC2 has no instance for a group."""
    event = {
        "version": "0",
        "id": "e-1",
        "account": "1",
        "source": "aws.autoscaling",
        "detail-type": "EC2 Instance Launch Unsuccessful",
        "time": "2026-01-01T00:00:00Z",
        "region": "us-east-1",
        "resources": [],
        "detail": {"AutoScalingGroupName": SPOT, "StatusMessage": "We currently do not have sufficient capacity."},
    }
    payload = json.dumps(event)
    answer = deployed.cloud.aws("lambda").invoke(FunctionName="spillway-local-ec2_events", Payload=payload)
    assert "FunctionError" not in answer, answer["Payload"].read()


def test_a_pool_of_groups_runs_jobs_and_goes_back_to_zero(deployed: Deployed) -> None:
    """Refused before its groups are there; then hosts boot without a job, speak, are rung, and leave through their group."""
    api = deployed.client
    api.put_pool(POOL, QUICK)
    with pytest.raises(Refused, match="spillway pool groups grouped"):
        api.patch_pool(POOL, {"capacity": "asg"})
    assert make_groups(deployed)["groups"] == {"us-east-1": [SPOT, BACKUP]}
    api.patch_pool(POOL, {"capacity": "asg"})
    refuse(deployed)
    assert f"group {SPOT} in us-east-1 got no instance" in str(api.story(f"pool/{POOL}"))
    jobs = [api.submit("echo hello", pool=POOL, timeout_s=30, cpu=1.0, memory_mib=128) for _ in range(3)]
    ended = until(lambda: (found := [api.job(job.id) for job in jobs]) and all(j.ended for j in found) and found)
    assert [job.state for job in ended] == ["succeeded"] * 3
    instances = {str(job.host).removeprefix("host-") for job in ended}
    known = deployed.cloud.aws("ec2").describe_instances(InstanceIds=sorted(instances))["Reservations"]
    assert {i.get("InstanceLifecycle") for r in known for i in r["Instances"]} == {"spot"}
    until(lambda: group(deployed, SPOT)["DesiredCapacity"] == 0 and not group(deployed, SPOT)["Instances"])
    until(lambda: all(host.state == "terminated" for host in api.hosts(POOL)))
    assert group(deployed, BACKUP)["DesiredCapacity"] == 0


def test_another_image_reaches_the_hosts_by_a_rolling_restart(deployed: Deployed) -> None:
    """A new version of the launch template, one generation more; who runs something ends it first. Then a kill takes all away."""
    api = deployed.client
    api.put_pool(POOL, QUICK)
    make_groups(deployed)
    api.patch_pool(POOL, {"capacity": "asg", "hosts_min": 1})
    (before,) = until(lambda: [host for host in api.hosts(POOL) if host.state == "ready"])
    api.patch_pool(POOL, {"log_limit_bytes": 2048})  # what hosts are told at their boot
    make_groups(deployed)
    api.restart_pool(POOL)
    (after,) = until(lambda: [h for h in api.hosts(POOL) if h.state == "ready" and h.instance_id != before.instance_id])
    versions = {m["InstanceId"]: m["LaunchTemplate"]["Version"] for m in group(deployed, SPOT)["Instances"]}
    assert int(versions[str(after.instance_id)]) >= 2
    until(lambda: group(deployed, SPOT)["DesiredCapacity"] == 1)
    api.kill_pool(POOL)
    until(lambda: group(deployed, SPOT)["DesiredCapacity"] == 0 and not group(deployed, SPOT)["Instances"])
