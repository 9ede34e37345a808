"""What a launch template brings to a launch: moto takes four settings of it, EC2 all."""

from typing import Any

from moto.backends import get_backend
from moto.core.utils import get_service_model

from localcloud.identity import ACCOUNT_ID

# What a template holds and RunInstances does not, or what moto takes from the template itself.
TEMPLATE_ONLY = frozenset(
    {"InstanceRequirements", "RamDiskId", "BlockDeviceMappings", "TagSpecifications", "NetworkInterfaces"}
)


def with_template(asked: dict[str, Any], region: str) -> dict[str, Any]:
    """The request with what its launch template says wherever it says nothing itself; tags of both, the request's first.
    Raises moto's ServiceException for a template or version that does not exist."""
    reference = asked.get("LaunchTemplate")
    if not reference:
        return dict(asked)
    backend = get_backend("ec2")[ACCOUNT_ID][region]
    if "LaunchTemplateId" in reference:
        template = backend.get_launch_template(reference["LaunchTemplateId"])
    else:
        template = backend.get_launch_template_by_name(reference.get("LaunchTemplateName", ""))
    version = _version(template, str(reference.get("Version") or "$Default"))
    members = get_service_model("ec2").operation_model("RunInstances").input_shape.members
    request = dict(asked)
    for key, value in version.data.items():
        if key in members and key not in TEMPLATE_ONLY and value is not None:
            request.setdefault(key, _plain(value))
    nics = _plain(version.data.get("NetworkInterfaces"))
    if nics and "NetworkInterfaces" not in asked and "SubnetId" not in asked:
        request["NetworkInterfaces"] = nics
        if request.get("SecurityGroupIds") == _plain(version.data.get("SecurityGroupIds")):
            request.pop("SecurityGroupIds", None)
    request["LaunchTemplate"] = {"LaunchTemplateId": template.id, "Version": str(version.number)}
    tags = merged_tags(_plain(version.data.get("TagSpecifications") or []), asked.get("TagSpecifications", []))
    if tags:
        request["TagSpecifications"] = tags
    return request


def _version(template: Any, number: str) -> Any:
    from moto.ec2.exceptions import InvalidLaunchTemplateVersionNotFound

    if number in ("$Latest", "$Default"):
        return template.get_version(number)
    if not number.isdigit() or not 1 <= int(number) <= len(template.versions):
        raise InvalidLaunchTemplateVersionNotFound(template_id=template.id, version=number)
    return template.versions[int(number) - 1]


def merged_tags(*specifications: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Tag specifications laid over each other, key by key; the last wins."""
    merged: dict[str, dict[str, str]] = {}
    for one in (each for specification in specifications for each in specification):
        merged.setdefault(one["ResourceType"], {}).update(
            {tag["Key"]: tag.get("Value", "") for tag in one.get("Tags", [])}
        )
    wanted = [
        (kind, tags)
        for kind, tags in merged.items()
        if kind in ("instance", "volume", "network-interface", "spot-instances-request")
    ]
    wanted.sort(key=lambda each: each[0] != "instance")
    return [
        {"ResourceType": kind, "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
        for kind, tags in wanted
    ]


def _plain(value: Any) -> Any:
    """A template's value without moto's own types; CloudFormation leaves numbers as text and truth as words, as here."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if hasattr(value, "items"):
        return {key: _plain(each) for key, each in value.items()}
    return str(value)
