"""EC2 and Run Command. Every request fits the API's own limits; every error becomes one of ours with a sentence."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from chalicelib.cloud.clients import Clients
from chalicelib.cloud.doorbell import ring_in_halves
from chalicelib.cloud.ports import Instance
from chalicelib.cloud.refusals import asking, code_of, launching, message_of
from chalicelib.cloud.tags import launch_tags
from chalicelib.core.host import Launch

TERMINATE_IDS_MAX = 1000
PAGE_INSTANCES = 1000
DOORBELL = 'python3 "${SPILLWAY_ROOT:-}/opt/spillway/agent.pyz" ring'
NOT_TERMINATED = ["pending", "running", "shutting-down", "stopping", "stopped"]

_INSTANCE_ID = re.compile(r"\bi-[0-9a-f]+\b")


class Ec2Compute:
    """`ports.Compute` on EC2 and SSM, in whatever region is named."""

    def __init__(self, clients: Clients, stage: str) -> None:
        self._clients = clients
        self._stage = stage

    def launch(self, launch: Launch) -> list[Instance]:
        region = launch.offering.region
        with launching(launch.offering.key):
            answer = self._clients.launcher(region).run_instances(**launch_request(self._stage, launch))
        found = [_instance(region, item) for item in answer["Instances"]]
        return sorted(found, key=lambda instance: instance.launch_index)

    def instances(self, pool: str, regions: Sequence[str]) -> list[Instance]:
        found = []
        for region in regions:
            with asking(f"EC2 in {region} was asked for the instances of pool {pool}"):
                found += self._listed(region, {"tag:spillway:pool": [pool], "instance-state-name": NOT_TERMINATED})
        return found

    def launched(self, launch: Launch) -> list[Instance]:
        region = launch.offering.region
        with asking(f"EC2 in {region} was asked for the instances of {launch.id}"):
            found = self._listed(region, {"tag:spillway:launch": [launch.id]})
        return sorted(found, key=lambda instance: instance.launch_index)

    def _listed(self, region: str, filters: Mapping[str, Sequence[str]]) -> list[Instance]:
        wanted = {"tag:spillway:stage": [self._stage], **filters}
        pages = (
            self._clients.get("ec2", region)
            .get_paginator("describe_instances")
            .paginate(
                Filters=[{"Name": name, "Values": values} for name, values in wanted.items()],
                PaginationConfig={"PageSize": PAGE_INSTANCES},
            )
        )
        return [
            _instance(region, item)
            for page in pages
            for reservation in page["Reservations"]
            for item in reservation["Instances"]
        ]

    def terminate(self, region: str, instance_ids: Sequence[str]) -> None:
        ids = list(dict.fromkeys(instance_ids))
        for i in range(0, len(ids), TERMINATE_IDS_MAX):
            batch = ids[i : i + TERMINATE_IDS_MAX]
            while batch:
                unknown = self._terminate(region, batch)
                batch = [instance_id for instance_id in batch if instance_id not in unknown] if unknown else []

    def ring(self, region: str, instance_ids: Sequence[str]) -> list[str]:
        return ring_in_halves(instance_ids, lambda batch: self._send(region, batch))

    def _terminate(self, region: str, batch: list[str]) -> set[str]:
        """Ask for one batch. EC2 refuses it whole for ids it no longer knows: those are returned; none means it was done."""
        from botocore.exceptions import ClientError

        with asking(f"EC2 in {region} was asked to terminate {len(batch)} instances"):
            try:
                self._clients.get("ec2", region).terminate_instances(InstanceIds=batch)
            except ClientError as error:
                unknown = set(_INSTANCE_ID.findall(message_of(error))) & set(batch)
                if code_of(error) != "InvalidInstanceID.NotFound" or not unknown:
                    raise
                return unknown
        return set()

    def _send(self, region: str, batch: list[str]) -> bool:
        """One Run Command; False when SSM refuses the call for an id that it does not know."""
        from botocore.exceptions import ClientError

        with asking(f"Run Command in {region} was asked to ring {len(batch)} hosts"):
            try:
                self._clients.get("ssm", region).send_command(
                    InstanceIds=batch,
                    DocumentName="AWS-RunShellScript",
                    Parameters={"commands": [DOORBELL], "executionTimeout": ["10"]},
                    TimeoutSeconds=30,  # SSM's least: a host that does not hear it by then is rung again
                    MaxErrors="100%",  # the default stops ringing the others after one failure
                )
            except ClientError as error:
                if code_of(error) != "InvalidInstanceId":
                    raise
                return False
        return True


def launch_request(stage: str, launch: Launch) -> dict[str, Any]:
    """RunInstances' parameters, the same each time for the same launch: EC2 refuses a repeated ClientToken with others."""
    offering = launch.offering
    tags = [{"Key": key, "Value": value} for key, value in launch_tags(stage, launch).items()]
    request: dict[str, Any] = {
        "LaunchTemplate": {"LaunchTemplateName": f"spillway-{stage}-host", "Version": "$Default"},
        "InstanceType": offering.instance_type,
        "MinCount": len(launch.hosts) if launch.whole else 1,
        "MaxCount": len(launch.hosts),
        "ClientToken": launch.token,
        "UserData": launch.user_data,
        "TagSpecifications": [{"ResourceType": kind, "Tags": tags} for kind in ("instance", "volume")],
    }
    if launch.template:
        request |= _of_template(stage, launch.template)
    if launch.image:
        request["ImageId"] = launch.image
    if offering.zone:
        request["Placement"] = {"AvailabilityZone": offering.zone}
    if offering.market == "spot":
        # One-time: a persistent request would launch again, untagged, after we let the machine go.
        spot = {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"}
        if offering.max_price_usd_h is not None:
            spot["MaxPrice"] = f"{offering.max_price_usd_h:f}"  # digits only: EC2 reads no exponent
        request["InstanceMarketOptions"] = {"MarketType": "spot", "SpotOptions": spot}
    return request


def _of_template(stage: str, said: str) -> dict[str, Any]:
    """What an operator's own template ("name" or "name:version") may bring, and what it may not: whose credentials a host has, that they
    stay on it, and that a machine which shuts itself down is gone, are the stage's to say. The security group must be the template's own,
    and the template must carry the tag `spillway:stage` (policies/wakes.json).
    """
    name, _, version = said.partition(":")
    return {
        "LaunchTemplate": {"LaunchTemplateName": name, "Version": version or "$Default"},
        "IamInstanceProfile": {"Name": f"spillway-{stage}-host"},
        "InstanceInitiatedShutdownBehavior": "terminate",
        "MetadataOptions": {"HttpEndpoint": "enabled", "HttpTokens": "required", "HttpPutResponseHopLimit": 1},
    }


def _instance(region: str, item: Mapping[str, Any]) -> Instance:
    return Instance(
        id=item["InstanceId"],
        region=region,
        state=item["State"]["Name"],
        launched_at=item["LaunchTime"].timestamp(),
        launch_index=item["AmiLaunchIndex"],
        instance_type=item["InstanceType"],
        # EC2 adds tags of its own ("aws:ec2launchtemplate:id"); they say nothing to us.
        tags={tag["Key"]: tag["Value"] for tag in item.get("Tags", []) if not tag["Key"].startswith("aws:")},
    )
