"""What EC2 says of the things that a pool names: launch templates, images, where types are sold, what spot costs. It only reads.

Somebody waits for the answer (a pool is being written), so a request gets one attempt of a few seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from chalicelib.cloud.clients import Clients
from chalicelib.cloud.refusals import asking, code_of, message_of
from chalicelib.cloud.tags import STAGE_TAG
from chalicelib.core.pool_checks import Template
from chalicelib.core.spot_history import Change
from chalicelib.errors import RegionRefused

T = TypeVar("T")

# EC2 says these in a region that the account has not enabled, or that is of another partition. What a role may not ask is another code.
NO_CREDENTIALS = ("AuthFailure", "OptInRequired", "InvalidClientTokenId", "UnrecognizedClientException")

PAGES_MAX = 10  # of spot prices, a thousand each


class Ec2Facts:
    """`ports.Facts` on EC2."""

    def __init__(self, clients: Clients, stage: str) -> None:
        self._clients = clients
        self._stage = stage

    def template(self, region: str, template: str | None) -> Template | None:
        name, _, version = (template or f"spillway-{self._stage}-host").partition(":")
        found = self._found(
            "InvalidLaunchTemplate",
            f"EC2 in {region} was asked for the launch template {name}",
            lambda: self._ec2(region).describe_launch_template_versions(
                LaunchTemplateName=name, Versions=[version or "$Default"]
            ),
        )
        if found is None or not found["LaunchTemplateVersions"]:
            return None
        data = found["LaunchTemplateVersions"][0]["LaunchTemplateData"]
        subnets = [card["SubnetId"] for card in data.get("NetworkInterfaces", []) if card.get("SubnetId")]
        return Template(image=str(data.get("ImageId", "")), subnet=subnets[0] if subnets else "")

    def subnet_zone(self, region: str, subnet: str) -> str | None:
        found = self._found(
            "InvalidSubnetI",  # EC2 says InvalidSubnetID.NotFound and InvalidSubnetId.Malformed
            f"EC2 in {region} was asked for the subnet {subnet}",
            lambda: self._ec2(region).describe_subnets(SubnetIds=[subnet]),
        )
        return None if found is None or not found["Subnets"] else str(found["Subnets"][0]["AvailabilityZone"])

    def template_is_ours(self, region: str, template: str) -> bool:
        name = template.partition(":")[0]
        found = self._found(
            "InvalidLaunchTemplate",
            f"EC2 in {region} was asked for the tags of the launch template {name}",
            lambda: self._ec2(region).describe_launch_templates(LaunchTemplateNames=[name]),
        )
        tags = [tag for each in (found or {"LaunchTemplates": []})["LaunchTemplates"] for tag in each.get("Tags", [])]
        return {"Key": STAGE_TAG, "Value": self._stage} in tags

    def image_arch(self, region: str, image: str) -> str | None:
        found = self._found(
            "InvalidAMIID",
            f"EC2 in {region} was asked for the image {image}",
            lambda: self._ec2(region).describe_images(ImageIds=[image]),
        )
        images = [each for each in (found or {"Images": []})["Images"] if each.get("State", "available") == "available"]
        if not images:
            return None
        windows = " with Windows" if str(images[0].get("Platform", "")).lower() == "windows" else ""
        return f"{images[0]['Architecture']}{windows}"

    def zones(self, region: str, types: Sequence[str]) -> Mapping[str, frozenset[str]]:
        with _asking(f"EC2 in {region} was asked where it sells {', '.join(types)}"):
            pages = (
                self._ec2(region)
                .get_paginator("describe_instance_type_offerings")
                .paginate(LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": list(types)}])
            )
            told = [(o["InstanceType"], o["Location"]) for page in pages for o in page["InstanceTypeOfferings"]]
        return {name: frozenset(zone for kind, zone in told if kind == name) for name in types}

    def spot_prices(self, region: str, types: Sequence[str], at: float) -> Mapping[str, Mapping[str, float]]:
        prices: dict[str, dict[str, float]] = {name: {} for name in types}
        for change in self.spot_history(region, types, at, at):  # the newest of a zone is the last, and stays
            if change.instance_type in prices:
                prices[change.instance_type][change.zone] = change.usd_h
        return prices

    def spot_history(self, region: str, types: Sequence[str], begin: float, end: float) -> list[Change]:
        from chalicelib.cloud.prices import told  # reads files too: not before it is needed

        with _asking(f"EC2 in {region} was asked for the spot prices of {', '.join(types)}"):
            return told(self._ec2(region), types, begin, end, PAGES_MAX)

    def _ec2(self, region: str) -> Any:
        return self._clients.asker(region)

    def _found(self, missing: str, what: str, ask: Callable[[], T]) -> T | None:
        """The answer; None where EC2 says by a code that begins so that there is no such thing."""
        from botocore.exceptions import ClientError

        with _asking(what):
            try:
                return ask()
            except ClientError as error:
                if not code_of(error).startswith(missing):
                    raise
        return None


@contextmanager
def _asking(what: str) -> Iterator[None]:
    """As `asking`, but an account that the region does not let in is told apart."""
    from botocore.exceptions import ClientError

    with asking(what):
        try:
            yield
        except ClientError as error:
            if code_of(error) not in NO_CREDENTIALS:
                raise
            raise RegionRefused(f"{code_of(error)}: {message_of(error)}") from error
