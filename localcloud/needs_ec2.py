"""What calls of EC2 need to be allowed, and of Run Command, which acts on instances.

A launch is the widest of all: one permission for each kind of resource that it makes or uses, one to tag what it makes, and PassRole for
the role that its machines get. What the launch template brings is looked up in moto.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from localcloud.calls import AwsCall, indexed
from localcloud.identity import ACCOUNT_ID
from localcloud.policy import Request

Context = dict[str, list[str]]

KIND_OF_ID = {
    "i": "instance",
    "vol": "volume",
    "eni": "network-interface",
    "lt": "launch-template",
    "sg": "security-group",
}


def instance_tags(call: AwsCall, instance_id: str) -> dict[str, str]:
    """The tags moto has for a resource of EC2."""
    from moto.backends import get_backend

    tags = get_backend("ec2")[ACCOUNT_ID][call.region].tags.get(instance_id, {})
    return {str(k): str(v) for k, v in dict(tags).items()}


def _tagged(call: AwsCall, context: Context, resource_id: str, prefix: str = "ec2") -> Context:
    keyed = dict(context)
    for name, value in instance_tags(call, resource_id).items():
        keyed[f"aws:resourcetag/{name}".lower()] = [value]
        keyed[f"{prefix}:resourcetag/{name}".lower()] = [value]
    return keyed


def ec2(call: AwsCall, context: Context) -> Iterator[Request]:
    """What a call of EC2 needs."""
    params = call.params
    action = f"ec2:{call.action}"
    if call.action == "RunInstances":
        yield from _run_instances(call, context)
        return
    if call.action.startswith(("Describe", "GetSpotPlacement")):
        yield Request(action, "*", context)
        return
    if call.action in ("CreateTags", "DeleteTags"):
        tags = {params[f"Tag.{i}.Key"]: params.get(f"Tag.{i}.Value", "") for i in _numbers(params, "Tag")}
        for resource_id in indexed(params, "ResourceId"):
            keyed = _with_request_tags(_tagged(call, context, resource_id), tags)
            yield Request(action, _ec2_arn(call, resource_id), keyed)
        return
    ids = indexed(params, "InstanceId") or [
        params[f] for f in ("InstanceId", "LaunchTemplateId", "VolumeId") if f in params
    ]
    if "LaunchTemplateName" in params:
        ids.append(_launch_template_id(call, params["LaunchTemplateName"]))
    for resource_id in ids:
        yield Request(action, _ec2_arn(call, resource_id), _tagged(call, context, resource_id))
    if not ids:
        yield Request(action, "*", context)


def _numbers(params: dict[str, Any], prefix: str) -> list[int]:
    found = {int(m.group(1)) for key in params if (m := re.match(rf"{re.escape(prefix)}\.(\d+)\.", key))}
    return sorted(found)


def _with_request_tags(context: Context, tags: dict[str, str]) -> Context:
    keyed = dict(context)
    if tags:
        keyed["aws:tagkeys"] = list(tags)
    for name, value in tags.items():
        keyed[f"aws:requesttag/{name}".lower()] = [value]
    return keyed


def _ec2_arn(call: AwsCall, resource_id: str) -> str:
    kind = KIND_OF_ID.get(resource_id.partition("-")[0], "*")
    return call.arn("ec2", f"{kind}/{resource_id}")


def _launch_template_id(call: AwsCall, name: str) -> str:
    from moto.backends import get_backend

    return str(get_backend("ec2")[ACCOUNT_ID][call.region].launch_template_name_to_ids.get(name, "lt-unknown"))


def _launch_template_data(call: AwsCall, template_id: str, version: str) -> dict[str, Any]:
    from moto.backends import get_backend

    template = get_backend("ec2")[ACCOUNT_ID][call.region].launch_templates.get(template_id)
    if template is None:
        return {}
    numbers = {"$Latest": template.latest_version_number, "$Default": template.default_version_number}
    found = template.get_version(int(numbers.get(version, version)))
    data: dict[str, Any] = found.data if found is not None else {}
    return data


def _run_instances(call: AwsCall, context: Context) -> Iterator[Request]:
    """One `ec2:RunInstances` for each kind of resource it makes or uses, CreateTags for what it tags, PassRole for the profile."""
    params = call.params
    template_id = params.get("LaunchTemplate.LaunchTemplateId")
    if template_id is None and "LaunchTemplate.LaunchTemplateName" in params:
        template_id = _launch_template_id(call, params["LaunchTemplate.LaunchTemplateName"])
    base = dict(context)
    base["ec2:islaunchtemplateresource"] = ["false"]
    template: dict[str, Any] = {}
    if template_id is not None:
        base["ec2:launchtemplate"] = [_ec2_arn(call, template_id)]
        template = _launch_template_data(call, template_id, str(params.get("LaunchTemplate.Version", "$Default")))
        yield Request("ec2:RunInstances", _ec2_arn(call, template_id), _tagged(call, base, template_id))
    from_template = {**base, "ec2:islaunchtemplateresource": ["true"]}
    base["ec2:instancetype"] = from_template["ec2:instancetype"] = [
        str(params.get("InstanceType") or template.get("InstanceType") or "m1.small")
    ]
    image = params.get("ImageId") or template.get("ImageId") or "ami-unknown"
    image_context = base if "ImageId" in params else from_template
    yield Request("ec2:RunInstances", f"arn:aws:ec2:{call.region}::image/{image}", image_context)
    subnet = params.get("SubnetId") or params.get("NetworkInterface.1.SubnetId") or "subnet-default"
    yield Request("ec2:RunInstances", call.arn("ec2", f"subnet/{subnet}"), base)
    own_groups = indexed(params, "SecurityGroupId") or indexed(params, "NetworkInterface.1.SecurityGroupId")
    groups = own_groups or list(template.get("SecurityGroupIds") or ["sg-default"])
    for group in groups:
        group_context = base if own_groups else from_template
        yield Request("ec2:RunInstances", call.arn("ec2", f"security-group/{group}"), group_context)
    key_name = params.get("KeyName") or template.get("KeyName")
    if key_name:
        yield Request("ec2:RunInstances", call.arn("ec2", f"key-pair/{key_name}"), base)
    specified = _tags_by_kind(params)
    for kind in {"instance", "volume", "network-interface"} | specified.keys():
        made = call.arn("ec2", f"{kind}/*")
        keyed = _with_request_tags(base, specified.get(kind, {}))
        yield Request("ec2:RunInstances", made, keyed)
        if specified.get(kind):
            yield Request("ec2:CreateTags", made, {**keyed, "ec2:createaction": ["RunInstances"]})
    role = _role_of_profile(params, template)
    if role is not None:
        passed = {**context, "iam:passedtoservice": ["ec2.amazonaws.com"]}
        yield Request("iam:PassRole", f"arn:aws:iam::{ACCOUNT_ID}:role/{role}", passed)


def _tags_by_kind(params: dict[str, Any]) -> dict[str, dict[str, str]]:
    kinds: dict[str, dict[str, str]] = {}
    for i in _numbers(params, "TagSpecification"):
        at = f"TagSpecification.{i}"
        tags = {
            params[f"{at}.Tag.{j}.Key"]: params.get(f"{at}.Tag.{j}.Value", "") for j in _numbers(params, f"{at}.Tag")
        }
        kinds.setdefault(params.get(f"{at}.ResourceType", "instance"), {}).update(tags)
    return kinds


def _role_of_profile(params: dict[str, Any], template: dict[str, Any]) -> str | None:
    from moto.backends import get_backend

    of_template = template.get("IamInstanceProfile") or {}
    name = params.get("IamInstanceProfile.Name") or of_template.get("Name")
    arn = params.get("IamInstanceProfile.Arn") or of_template.get("Arn")
    wanted = name or (arn.rpartition("/")[2] if arn else None)
    for profile in list(get_backend("iam")[ACCOUNT_ID]["aws"].instance_profiles.values()):
        if wanted is not None and profile.name == wanted and profile.roles:
            return str(profile.roles[0].name)
    return wanted


def ssm(call: AwsCall, context: Context) -> Iterator[Request]:
    """What a call of Systems Manager needs: Run Command is about the document and about every instance."""
    params = call.params
    if call.action == "SendCommand":
        document = str(params.get("DocumentName", ""))
        owner = "" if document.startswith(("AWS-", "Amazon")) else ACCOUNT_ID
        name = document if document.startswith("arn:") else f"arn:aws:ssm:{call.region}:{owner}:document/{document}"
        yield Request("ssm:SendCommand", name, context)
        for instance_id in params.get("InstanceIds") or ["*"]:
            keyed = _tagged(call, context, instance_id, "ssm")
            yield Request("ssm:SendCommand", call.arn("ec2", f"instance/{instance_id}"), keyed)
        return
    if call.action == "UpdateInstanceInformation" and "InstanceId" in params:
        yield Request("ssm:UpdateInstanceInformation", call.arn("ec2", f"instance/{params['InstanceId']}"), context)
        return
    names = [params["Name"]] if "Name" in params and "Parameter" in call.action else params.get("Names", [])
    for parameter in names:
        yield Request(f"ssm:{call.action}", call.arn("ssm", f"parameter/{parameter.lstrip('/')}"), context)
    if not names:
        yield Request(f"ssm:{call.action}", "*", context)
