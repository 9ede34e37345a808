"""The groups of a pool: a template that CloudFormation takes, tags that a pass finds hosts by, and nothing that a group does of itself."""

from __future__ import annotations

import base64
import gzip
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from test_bootstrap import AGENT, registry, run

from chalicelib.config import Settings
from chalicelib.core.groups import out_of_step
from chalicelib.core.host import Offering
from chalicelib.core.pool import Pool, PoolSpec
from infra import groups
from infra.errors import InfraError

SPOT = Offering(region="us-east-1", instance_type="c7i.large", market="spot", max_price_usd_h=0.05)
OTHER = Offering(region="us-east-1", instance_type="m7i.large", market="spot", max_price_usd_h=0.05)
BACKUP = Offering(region="us-east-1", instance_type="m7i.xlarge")
SETTINGS = Settings(stage="dev", bucket="b", host_role_id="AROA", agent_sha256="ab" * 32)
SCRIPT = "#!/usr/bin/python3\nMANIFEST = r'''{}'''\n"


def made(*offerings: Offering, subnet: str = "", **spec: Any) -> dict[str, Any]:
    pool = Pool(name="graders", spec=PoolSpec(offerings=offerings or (SPOT, OTHER, BACKUP), **spec))
    return groups.template(SETTINGS, pool, "us-east-1", SCRIPT, "sg-0123456789abcdef0", "ami-0123456789abcdef0", subnet)


def resources(template: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [r["Properties"] for r in template["Resources"].values() if r["Type"] == kind]


@pytest.mark.parametrize("subnet", ["", "subnet-0123456789abcdef0"])
def test_the_template_passes_cfn_lint(tmp_path: Path, subnet: str) -> None:
    path = tmp_path / "template.json"
    path.write_text(json.dumps(made(subnet=subnet)))
    done = subprocess.run(
        [str(Path(sys.executable).with_name("cfn-lint")), str(path)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout


def test_there_is_a_group_for_each_market_from_zero_and_protected() -> None:
    """Which host leaves, and when, is Spillway's to say; instances carry what a pass finds them by."""
    found = {group["AutoScalingGroupName"]: group for group in resources(made(), "AWS::AutoScaling::AutoScalingGroup")}
    assert set(found) == {"spillway-dev-graders-spot", "spillway-dev-graders-on-demand"}
    for name, group in found.items():
        assert (group["MinSize"], group["NewInstancesProtectedFromScaleIn"], group["CapacityRebalance"]) == (
            "0",
            True,
            False,
        )
        tags = {tag["Key"]: tag["Value"] for tag in group["Tags"] if tag["PropagateAtLaunch"]}
        assert tags == {
            "spillway:stage": "dev",
            "spillway:pool": "graders",
            "spillway:host": name,
            "spillway:launch": name,
            "Name": "spillway-dev/graders",
        }


def test_spot_is_spread_over_its_types_by_capacity_and_the_backup_is_on_demand() -> None:
    spot, backup = (g["MixedInstancesPolicy"] for g in resources(made(), "AWS::AutoScaling::AutoScalingGroup"))
    assert [each["InstanceType"] for each in spot["LaunchTemplate"]["Overrides"]] == ["c7i.large", "m7i.large"]
    assert spot["InstancesDistribution"]["SpotAllocationStrategy"] == "capacity-optimized"
    assert spot["InstancesDistribution"]["OnDemandPercentageAboveBaseCapacity"] == 0
    assert spot["InstancesDistribution"]["SpotMaxPrice"] == "0.05"
    assert [each["InstanceType"] for each in backup["LaunchTemplate"]["Overrides"]] == ["m7i.xlarge"]
    assert backup["InstancesDistribution"]["OnDemandPercentageAboveBaseCapacity"] == 100


def test_user_data_boots_the_agent_without_a_job_and_fits() -> None:
    """The same for all that the group will ever launch: no host is named in it."""
    template = resources(made(slots_per_host=3), "AWS::EC2::LaunchTemplate")[0]["LaunchTemplateData"]
    data = base64.b64decode(template["UserData"])
    assert len(data) <= 16_384
    line = gzip.decompress(data).decode().splitlines()[1]
    manifest = json.loads(line.removeprefix("MANIFEST = r'''").removesuffix("'''"))
    assert (manifest["group"], manifest["pool"], manifest["hosts"]) == ("spillway-dev-graders-spot", "graders", [])
    assert manifest["settings"]["slots"] == 3
    assert template["MetadataOptions"]["HttpTokens"] == "required"
    assert template["InstanceInitiatedShutdownBehavior"] == "terminate"


@pytest.mark.parametrize(
    ("name", "value"),
    {
        "offerings": (SPOT,),
        "image": "ami-0123456789abcdef1",
        "slots_per_host": 7,
        "ping_every_s": 17,
        "idle_max_s": 1700,
        "linger_s": 1700,
        "lifetime_max_s": 1700,
        "unreachable_max_s": 1700,
        "sandbox": "none",
        "log_limit_bytes": 17,
    }.items(),
)
def test_what_is_in_the_launch_template_and_no_more_is_out_of_step_when_it_changes(name: str, value: Any) -> None:
    """So people are warned when they change it, and not when hosts hear of a change anyway."""
    before = PoolSpec(offerings=(SPOT, OTHER, BACKUP), capacity="asg")
    after = replace(before, **{name: value})
    assert out_of_step(before, after) == [name]
    assert name == "offerings" or made(**{name: value}) != made()
    others = {"hosts_max": 3, "budget_usd_h": 9.0, "policy": "headroom", "missed_pings_s": 999, "boot_timeout_s": 999}
    assert out_of_step(before, replace(before, **others)) == []
    assert made(**others) == made()


def test_an_operator_makes_them_once_and_again(aws: str, project: Path) -> None:
    """What a group would do of itself is suspended, each time."""
    run(project)
    boto3.client("s3").put_object(
        Bucket=json.loads((project / ".chalice" / "config.json").read_text())["stages"]["dev"]["environment_variables"][
            "SPILLWAY_BUCKET"
        ],
        Key=f"agent/{AGENT.sha256}.boot.py",
        Body=SCRIPT.encode(),
    )
    registry().put_pool("graders", PoolSpec(offerings=(SPOT, BACKUP)), version=None)
    names = {"us-east-1": ["spillway-dev-graders-spot", "spillway-dev-graders-on-demand"]}
    assert groups.make("dev", "graders", project).groups == names
    assert groups.make("dev", "graders", project).groups == names
    scaling = boto3.client("autoscaling")
    found = scaling.describe_auto_scaling_groups()["AutoScalingGroups"]
    for group in found:
        assert {each["ProcessName"] for each in group["SuspendedProcesses"]} == {"AZRebalance", "ReplaceUnhealthy"}
    two = (SPOT, replace(OTHER, max_price_usd_h=0.07))
    assert registry().put_pool("graders", PoolSpec(offerings=two), version=1)
    with pytest.raises(
        InfraError, match=r"offerings\[1\].max_price_usd_h: is 0.07, but that of offerings\[0\] is 0.05"
    ):
        groups.make("dev", "graders", project)
    registry().put_pool("graders", PoolSpec(offerings=(BACKUP,)), version=2)
    scaling.set_desired_capacity(AutoScalingGroupName="spillway-dev-graders-spot", DesiredCapacity=1)
    with pytest.raises(InfraError, match=r"spillway-dev-graders-spot would go.* 1 host.*spillway pool restart graders"):
        groups.make("dev", "graders", project)


def test_a_pool_or_stage_that_is_not_there_is_told_with_what_makes_it(aws: str, project: Path) -> None:
    with pytest.raises(InfraError, match="spillway bootstrap --stage dev"):
        groups.make("dev", "graders", project)
    run(project)
    with pytest.raises(InfraError, match="spillway pool set graders --create"):
        groups.make("dev", "graders", project)
