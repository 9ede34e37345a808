"""The Auto Scaling groups of a pool whose capacity comes from them: one stack for each region, `spillway-<stage>-<pool>-groups`.

Two groups: spot, and the on-demand backup; each only where the pool has offerings of that market there. The template is made, not kept,
because the types that a group may launch are the pool's offerings. Running it again changes nothing, or brings the groups to what the
pool's settings are now: another image, another type, what hosts are told at their boot. A change makes a new version of the launch
template; hosts that are there keep running what they booted with until `spillway pool restart` replaces them.

Of themselves groups must do nothing. CloudFormation has no word for suspended processes, so they are suspended afterwards, each time:
AZRebalance would end a host that works to please a zone; ReplaceUnhealthy would launch another host for each that leaves.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import boto3

from chalicelib.cloud.user_data import user_data
from chalicelib.config import Settings, from_environment
from chalicelib.control.handover import group_manifest
from chalicelib.core.catalogue import capacity
from chalicelib.core.groups import MARKETS, SUSPENDED, group_name
from chalicelib.core.host import Offering
from chalicelib.core.pool import Pool
from chalicelib.core.settings import faults
from chalicelib.core.spoken import count
from chalicelib.store.open import dynamo_stores
from infra import chalice_config, stacks, terminal
from infra.bootstrap import explained
from infra.errors import InfraError
from infra.stage import check_stage
from infra.terminal import Report

SIZE_MAX = 5000  # hosts_max is the limit; a group's own must not be in its way
LATEST_IMAGE = "{{resolve:ssm:/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64}}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """The groups of a pool: region → names."""

    stage: str
    pool: str
    groups: dict[str, list[str]]


def make(stage: str, pool_name: str, project_dir: Path, *, report: Report = terminal.silent) -> Made:
    """Create or update the groups of a pool in each region of its offerings. Raises InfraError with a sentence for people."""
    check_stage(stage)
    settings = _settings(project_dir, stage)
    made: dict[str, list[str]] = {}
    with explained():
        pool = dynamo_stores(settings).registry.pool(pool_name)
        if pool is None:
            raise InfraError(
                f"There is no pool {pool_name} in stage {stage}: `spillway pool set {pool_name} --create` makes it."
            )
        for fault in faults(replace(pool.spec, capacity="asg")):
            raise InfraError(f"Pool {pool_name}, {fault.field}: {fault.message}.")
        session = boto3.session.Session(region_name=settings.region)
        key = f"agent/{settings.agent_sha256}.boot.py"
        script = session.client("s3").get_object(Bucket=settings.bucket, Key=key)["Body"].read().decode()
        for region in sorted({offering.region for offering in pool.spec.offerings}):
            made[region] = _make_in(session, settings, pool, region, script, report)
    return Made(stage=stage, pool=pool_name, groups=made)


def _make_in(
    session: boto3.session.Session, settings: Settings, pool: Pool, region: str, script: str, report: Report
) -> list[str]:
    cfn = session.client("cloudformation", region_name=region)
    home = stacks.described(cfn, f"{settings.prefix}-region")
    if home is None:
        raise InfraError(
            f"Stage {settings.stage} has no region stack in {region}: "
            f"`spillway bootstrap --stage {settings.stage} --host-region {region}` makes it."
        )
    subnet = next((p["ParameterValue"] for p in home.get("Parameters", []) if p["ParameterKey"] == "SubnetId"), "")
    outputs = {o["OutputKey"]: o["OutputValue"] for o in home["Outputs"]}
    document = template(settings, pool, region, script, outputs["SecurityGroupId"], outputs.get("ImageId"), subnet)
    names = [group_name(settings.stage, pool.name, market) for market in _by_market(pool, region)]
    scaling = session.client("autoscaling", region_name=region)
    _check_none_ends(scaling, settings.stage, pool.name, names)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "template.json"
        path.write_text(json.dumps(document), encoding="utf-8")
        tags = {"spillway:stage": settings.stage, "spillway:pool": pool.name}
        stacks.ensure(cfn, f"{settings.prefix}-{pool.name}-groups", path, {}, tags, report)
    for name in names:
        scaling.suspend_processes(AutoScalingGroupName=name, ScalingProcesses=sorted(SUSPENDED))
        report(f"{name}: {' and '.join(sorted(SUSPENDED))} suspended")
    return names


def _check_none_ends(scaling: Any, stage: str, pool: str, kept: Sequence[str]) -> None:
    """Raises InfraError where a group that the pool has no offering for any more still has hosts: CloudFormation would wait an hour for
    them, because they are protected, and then fail; or end them, where somebody has taken their protection."""
    gone = sorted({group_name(stage, pool, market) for market in MARKETS} - set(kept))
    answer = scaling.describe_auto_scaling_groups(AutoScalingGroupNames=gone) if gone else {"AutoScalingGroups": []}
    for group in answer["AutoScalingGroups"]:
        if group["Instances"] or group["DesiredCapacity"]:
            hosts = count(max(len(group["Instances"]), group["DesiredCapacity"]), "host")
            raise InfraError(
                f"The group {group['AutoScalingGroupName']} would go, because pool {pool} has no offering for it any more, and it still "
                f"has {hosts}. `spillway pool restart {pool}` lets them go as their work ends, and starts others; then run this again."
            )


def template(
    settings: Settings,
    pool: Pool,
    region: str,
    script: str,
    security_group: str,
    image: str | None = None,
    subnet: str = "",
) -> dict[str, Any]:
    """The stack of a pool's groups in a region, as CloudFormation takes it. `script`: the boot script, still without manifest."""
    resources: dict[str, Any] = {}
    for market, offerings in _by_market(pool, region).items():
        noun = MARKETS[market].title().replace("-", "")
        resources[f"{noun}Template"] = _launch_template(
            settings, pool, market, offerings, script, security_group, image
        )
        resources[f"{noun}Group"] = _group(settings, pool, market, offerings, f"{noun}Template", subnet)
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"Spillway, stage {settings.stage} - the Auto Scaling groups of pool {pool.name}",
        "Resources": resources,
    }


def _by_market(pool: Pool, region: str) -> dict[str, list[Offering]]:
    """The pool's offerings in a region, by market, as ranked."""
    found: dict[str, list[Offering]] = {}
    for offering in pool.spec.offerings:
        if offering.region == region:
            found.setdefault(offering.market, []).append(offering)
    return found


def _launch_template(
    settings: Settings,
    pool: Pool,
    market: str,
    offerings: Sequence[Offering],
    script: str,
    security_group: str,
    image: str | None,
) -> dict[str, Any]:
    name = group_name(settings.stage, pool.name, market)
    slots = max(capacity(offering, pool.spec).slots for offering in offerings)
    data = user_data(group_manifest(settings, pool, name, offerings[0].region, slots), script)
    return {
        "Type": "AWS::EC2::LaunchTemplate",
        "Properties": {
            "LaunchTemplateName": name,
            "TagSpecifications": [{"ResourceType": "launch-template", "Tags": _tags(settings, pool)}],
            "LaunchTemplateData": {
                "ImageId": pool.spec.image or image or LATEST_IMAGE,
                "InstanceType": offerings[0].instance_type,
                "IamInstanceProfile": {"Name": f"{settings.prefix}-host"},
                "InstanceInitiatedShutdownBehavior": "terminate",
                "MetadataOptions": {
                    "HttpEndpoint": "enabled",
                    "HttpTokens": "required",
                    "HttpPutResponseHopLimit": 1,
                    "InstanceMetadataTags": "disabled",
                },
                "SecurityGroupIds": [security_group],
                "BlockDeviceMappings": [
                    {
                        "DeviceName": "/dev/xvda",
                        "Ebs": {"VolumeType": "gp3", "VolumeSize": 20, "Encrypted": True, "DeleteOnTermination": True},
                    }
                ],
                "TagSpecifications": [{"ResourceType": "volume", "Tags": _host_tags(settings, pool, name)}],
                "UserData": base64.b64encode(data).decode(),
            },
        },
    }


def _group(
    settings: Settings, pool: Pool, market: str, offerings: Sequence[Offering], launch_template: str, subnet: str
) -> dict[str, Any]:
    name = group_name(settings.stage, pool.name, market)
    spot = market == "spot"
    types = list(dict.fromkeys(offering.instance_type for offering in offerings))
    zones = sorted({offering.zone for offering in offerings if offering.zone})
    anywhere = any(offering.zone is None for offering in offerings)
    limit = offerings[0].max_price_usd_h  # the same for all of them: no pool is written otherwise
    distribution: dict[str, Any] = {
        "OnDemandBaseCapacity": 0,
        "OnDemandPercentageAboveBaseCapacity": 0 if spot else 100,
        "OnDemandAllocationStrategy": "prioritized",
        "SpotAllocationStrategy": "capacity-optimized",
    }
    if spot and limit is not None:
        distribution["SpotMaxPrice"] = f"{limit:g}"
    where: dict[str, Any] = {"VPCZoneIdentifier": [subnet]} if subnet else {"AvailabilityZones": zones}
    if anywhere and not subnet:
        where = {"AvailabilityZones": {"Fn::GetAZs": ""}}
    return {
        "Type": "AWS::AutoScaling::AutoScalingGroup",
        "Properties": {
            "AutoScalingGroupName": name,
            "MinSize": "0",
            "MaxSize": str(SIZE_MAX),
            **where,
            "NewInstancesProtectedFromScaleIn": True,  # which host leaves is said by Spillway, host by host
            "CapacityRebalance": False,  # it would launch for an interruption that Spillway deals with
            "HealthCheckType": "EC2",
            "MixedInstancesPolicy": {
                "InstancesDistribution": distribution,
                "LaunchTemplate": {
                    "LaunchTemplateSpecification": {
                        "LaunchTemplateId": {"Ref": launch_template},
                        "Version": {"Fn::GetAtt": [launch_template, "LatestVersionNumber"]},
                    },
                    "Overrides": [{"InstanceType": kind} for kind in types],
                },
            },
            "Tags": [{**tag, "PropagateAtLaunch": True} for tag in _host_tags(settings, pool, name)],
        },
    }


def _tags(settings: Settings, pool: Pool) -> list[dict[str, str]]:
    return [{"Key": "spillway:stage", "Value": settings.stage}, {"Key": "spillway:pool", "Value": pool.name}]


def _host_tags(settings: Settings, pool: Pool, group: str) -> list[dict[str, str]]:
    """As those of a launch (docs/contracts.md §1), with the group in its place."""
    more = {"spillway:host": group, "spillway:launch": group, "Name": f"{settings.prefix}/{pool.name}"}
    return [*_tags(settings, pool), *({"Key": key, "Value": value} for key, value in more.items())]


def _settings(project_dir: Path, stage: str) -> Settings:
    """What bootstrap wrote for the stage."""
    stages: Mapping[str, Any] = chalice_config.read(project_dir).get("stages", {})
    environment = stages.get(stage, {}).get("environment_variables", {})
    if not environment.get("SPILLWAY_BUCKET"):
        raise InfraError(f"Stage {stage} is not bootstrapped from here: `spillway bootstrap --stage {stage}` first.")
    return from_environment(environment)


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m infra.groups`: exit code 0, or 1 with a sentence on standard error."""
    parser = argparse.ArgumentParser(
        prog="python -m infra.groups", description="Make the Auto Scaling groups of a pool."
    )
    parser.add_argument("--stage", required=True)
    parser.add_argument("--pool", required=True)
    parser.add_argument("--project-dir", type=Path, default=Path.cwd(), help="where app.py is (default: here)")
    options = parser.parse_args(argv)
    try:
        done = make(options.stage, options.pool, options.project_dir.resolve(), report=terminal.progress)
    except InfraError as error:
        terminal.progress(str(error))
        return 1
    terminal.say(json.dumps(asdict(done)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
