"""What a call needs to be allowed: IAM actions, the ARNs they are about, and the condition keys' values.

One function a service, from AWS's service authorization reference. Names of tables, queues and instances come from the call; tags and hash
keys are read from moto. Services that no policy of ours names fall back to `<service>:<Operation>` on "*".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote

from localcloud.calls import AwsCall, indexed
from localcloud.identity import ACCOUNT_ID
from localcloud.policy import Request

Context = dict[str, list[str]]
ALWAYS_ALLOWED = frozenset({("sts", "GetCallerIdentity")})
BATCH_ACTIONS = {
    "SendMessageBatch": "SendMessage",
    "DeleteMessageBatch": "DeleteMessage",
    "ChangeMessageVisibilityBatch": "ChangeMessageVisibility",
    "PublishBatch": "Publish",
}


def needs(call: AwsCall) -> list[Request]:
    """Every permission a call needs; all of them must be allowed."""
    if (call.service, call.action) in ALWAYS_ALLOWED:
        return []
    of_service = OF_SERVICE.get(call.service, _other)
    return list(of_service(call, _caller(call)))


def _caller(call: AwsCall) -> Context:
    principal = call.principal
    context: Context = {
        "aws:sourceip": ["127.0.0.1"],
        "aws:securetransport": ["true"],  # plain HTTP stands for AWS's HTTPS here
        "aws:requestedregion": [call.region],
    }
    if principal is not None:
        context["aws:userid"] = [principal.userid]
        context["aws:principalarn"] = [f"arn:aws:iam::{ACCOUNT_ID}:role/{principal.role}"]
        context["aws:principalaccount"] = [ACCOUNT_ID]
        context["aws:principaltype"] = ["AssumedRole"]
        if principal.session.startswith("i-"):
            context["ec2:sourceinstancearn"] = [_arn(call, "ec2", f"instance/{principal.session}")]
    return context


def _arn(call: AwsCall, service: str, resource: str) -> str:
    return f"arn:aws:{service}:{call.region}:{ACCOUNT_ID}:{resource}"


def _other(call: AwsCall, context: Context) -> Iterator[Request]:
    yield Request(f"{call.service}:{call.action or 'Unknown'}", "*", context)


# --- DynamoDB -------------------------------------------------------------------------------------------------------------

TRANSACTION_ACTIONS = {
    "Put": "PutItem",
    "Update": "UpdateItem",
    "Delete": "DeleteItem",
    "ConditionCheck": "ConditionCheckItem",
}


def _dynamodb(call: AwsCall, context: Context) -> Iterator[Request]:
    params = call.params

    def need(action: str, table: str, items: list[dict[str, Any]] | None, index: str | None = None) -> Request:
        with_keys = dict(context)
        if items is not None:
            with_keys["dynamodb:leadingkeys"] = _leading_keys(call, table, items)
        return Request(f"dynamodb:{action}", _table_arn(call, table, index), with_keys)

    match call.action:
        case "BatchWriteItem":
            for table, requests in params.get("RequestItems", {}).items():
                items = [r["PutRequest"]["Item"] if "PutRequest" in r else r["DeleteRequest"]["Key"] for r in requests]
                yield need(call.action, table, items)
        case "BatchGetItem":
            for table, request in params.get("RequestItems", {}).items():
                yield need(call.action, table, request.get("Keys", []))
        case "TransactWriteItems" | "TransactGetItems":
            for entry in params.get("TransactItems", []):
                for verb, part in entry.items():
                    item = part.get("Item") or part.get("Key") or {}
                    yield need(TRANSACTION_ACTIONS.get(verb, "GetItem"), part["TableName"], [item])
        case "Query":
            hash_value = _queried_hash(call)
            yield need("Query", params.get("TableName", ""), hash_value, params.get("IndexName"))
        case _ if "TableName" in params:
            item = params.get("Item") or params.get("Key")
            yield need(call.action, params["TableName"], [item] if item else None, params.get("IndexName"))
        case _:
            yield Request(f"dynamodb:{call.action}", "*", context)


def _table_arn(call: AwsCall, table: str, index: str | None) -> str:
    arn = table if table.startswith("arn:") else _arn(call, "dynamodb", f"table/{table}")
    return f"{arn}/index/{index}" if index else arn


def _hash_key(call: AwsCall, table: str, index: str | None = None) -> str | None:
    from moto.backends import get_backend

    found = get_backend("dynamodb")[ACCOUNT_ID][call.region].tables.get(table.rpartition("/")[2])
    if found is None:
        return None
    if index is None:
        return str(found.hash_key_attr)
    indexes = [*found.indexes, *found.global_indexes]
    schema = next((i.schema for i in indexes if i.name == index), [])
    return next((str(key["AttributeName"]) for key in schema if key["KeyType"] == "HASH"), None)


def _leading_keys(call: AwsCall, table: str, items: list[dict[str, Any]]) -> list[str]:
    name = _hash_key(call, table)
    return [str(next(iter(item[name].values()))) for item in items if name in item]


def _queried_hash(call: AwsCall) -> list[dict[str, Any]] | None:
    """The hash key of a Query, as an item; read off `#h = :v` in its key condition."""
    table, params = call.params.get("TableName", ""), call.params
    index_key = _hash_key(call, table, params.get("IndexName"))
    names = params.get("ExpressionAttributeNames", {})
    values = params.get("ExpressionAttributeValues", {})
    for name, value in re.findall(r"([#\w.-]+)\s*=\s*(:\w+)", params.get("KeyConditionExpression", "")):
        if names.get(name, name) == index_key and value in values:
            return [{_hash_key(call, table) or "": values[value]}]
    return None


# --- queues, topics, events ---------------------------------------------------------------------------------------------------


def _sqs(call: AwsCall, context: Context) -> Iterator[Request]:
    params = call.params
    name = params.get("QueueName") or str(params.get("QueueUrl", "")).rpartition("/")[2]
    action = BATCH_ACTIONS.get(call.action, call.action)
    yield Request(f"sqs:{action}", _arn(call, "sqs", name) if name else "*", context)


def _sns(call: AwsCall, context: Context) -> Iterator[Request]:
    params = call.params
    target = (
        params.get("TopicArn") or params.get("TargetArn") or params.get("ResourceArn") or params.get("SubscriptionArn")
    )
    if target is None and "Name" in params:
        target = _arn(call, "sns", params["Name"])
    yield Request(f"sns:{BATCH_ACTIONS.get(call.action, call.action)}", target or "*", context)


def _events(call: AwsCall, context: Context) -> Iterator[Request]:
    params = call.params
    if call.action == "PutEvents":
        for entry in params.get("Entries", []):
            bus = entry.get("EventBusName", "default")
            keyed = {
                **context,
                "events:source": [entry.get("Source", "")],
                "events:detail-type": [entry.get("DetailType", "")],
            }
            yield Request(
                "events:PutEvents", bus if bus.startswith("arn:") else _arn(call, "events", f"event-bus/{bus}"), keyed
            )
        return
    name = params.get("Name") or params.get("Rule")
    yield Request(f"events:{call.action}", _arn(call, "events", f"rule/{name}") if name else "*", context)


def _logs(call: AwsCall, context: Context) -> Iterator[Request]:
    group, stream = call.params.get("logGroupName"), call.params.get("logStreamName")
    resource = "*"
    if group:
        resource = _arn(call, "logs", f"log-group:{group}:" + (f"log-stream:{stream}" if stream else "*"))
    yield Request(f"logs:{call.action}", resource, context)


def _cloudwatch(call: AwsCall, context: Context) -> Iterator[Request]:
    if "Namespace" in call.params:
        context = {**context, "cloudwatch:namespace": [str(call.params["Namespace"])]}
    yield Request(f"cloudwatch:{call.action}", "*", context)


# --- S3 and Lambda ------------------------------------------------------------------------------------------------------------

S3_ACTIONS = {
    "HeadObject": "GetObject",
    "GetObjectAttributes": "GetObject",
    "HeadBucket": "ListBucket",
    "ListObjects": "ListBucket",
    "ListObjectsV2": "ListBucket",
    "ListBuckets": "ListAllMyBuckets",
    "CreateMultipartUpload": "PutObject",
    "UploadPart": "PutObject",
    "CompleteMultipartUpload": "PutObject",
    "ListParts": "ListMultipartUploadParts",
    "ListMultipartUploads": "ListBucketMultipartUploads",
    "CopyObject": "PutObject",
    "UploadPartCopy": "PutObject",
    "GetBucketLifecycleConfiguration": "GetLifecycleConfiguration",
    "PutBucketLifecycleConfiguration": "PutLifecycleConfiguration",
    "GetBucketEncryption": "GetEncryptionConfiguration",
    "PutBucketEncryption": "PutEncryptionConfiguration",
    "GetPublicAccessBlock": "GetBucketPublicAccessBlock",
    "PutPublicAccessBlock": "PutBucketPublicAccessBlock",
}


def _s3(call: AwsCall, context: Context) -> Iterator[Request]:
    bucket, key = call.params.get("Bucket"), call.params.get("Key")
    action = S3_ACTIONS.get(call.action, call.action or "Unknown")
    if action == "ListBucket":
        context = {**context, "s3:prefix": [call.params.get("prefix", "")]}
    if call.action == "DeleteObjects":
        for name in re.findall(rb"<Key>(.*?)</Key>", call.body, re.DOTALL):
            yield Request("s3:DeleteObject", f"arn:aws:s3:::{bucket}/{name.decode()}", context)
        return
    source = call.environ.get("HTTP_X_AMZ_COPY_SOURCE")
    if source:
        yield Request("s3:GetObject", f"arn:aws:s3:::{unquote(source).lstrip('/').partition('?')[0]}", context)
    resource = "*" if bucket is None else f"arn:aws:s3:::{bucket}" + (f"/{key}" if key else "")
    yield Request(f"s3:{action}", resource, context)


def _lambda(call: AwsCall, context: Context) -> Iterator[Request]:
    name = call.params.get("FunctionName")
    action = "InvokeFunction" if call.action in ("Invoke", "InvokeAsync") else call.action
    resource = "*"
    if name:
        resource = name if name.startswith("arn:") else _arn(call, "lambda", f"function:{name}")
    yield Request(f"lambda:{action or 'Unknown'}", resource, context)


def _iam(call: AwsCall, context: Context) -> Iterator[Request]:
    resource = "*"
    for field, kind in (("RoleName", "role"), ("InstanceProfileName", "instance-profile"), ("UserName", "user")):
        if field in call.params:
            resource = f"arn:aws:iam::{ACCOUNT_ID}:{kind}/{call.params[field]}"
            break
    yield Request(f"iam:{call.action}", resource, context)


# --- EC2 and what acts on instances --------------------------------------------------------------------------------------------

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


def _ec2(call: AwsCall, context: Context) -> Iterator[Request]:
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
    return _arn(call, "ec2", f"{kind}/{resource_id}")


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
    yield Request("ec2:RunInstances", _arn(call, "ec2", f"subnet/{subnet}"), base)
    own_groups = indexed(params, "SecurityGroupId") or indexed(params, "NetworkInterface.1.SecurityGroupId")
    groups = own_groups or list(template.get("SecurityGroupIds") or ["sg-default"])
    for group in groups:
        group_context = base if own_groups else from_template
        yield Request("ec2:RunInstances", _arn(call, "ec2", f"security-group/{group}"), group_context)
    key_name = params.get("KeyName") or template.get("KeyName")
    if key_name:
        yield Request("ec2:RunInstances", _arn(call, "ec2", f"key-pair/{key_name}"), base)
    specified = _tags_by_kind(params)
    for kind in {"instance", "volume", "network-interface"} | specified.keys():
        made = _arn(call, "ec2", f"{kind}/*")
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


def _ssm(call: AwsCall, context: Context) -> Iterator[Request]:
    params = call.params
    if call.action == "SendCommand":
        document = str(params.get("DocumentName", ""))
        owner = "" if document.startswith(("AWS-", "Amazon")) else ACCOUNT_ID
        name = document if document.startswith("arn:") else f"arn:aws:ssm:{call.region}:{owner}:document/{document}"
        yield Request("ssm:SendCommand", name, context)
        for instance_id in params.get("InstanceIds") or ["*"]:
            keyed = _tagged(call, context, instance_id, "ssm")
            yield Request("ssm:SendCommand", _arn(call, "ec2", f"instance/{instance_id}"), keyed)
        return
    if call.action == "UpdateInstanceInformation" and "InstanceId" in params:
        yield Request("ssm:UpdateInstanceInformation", _arn(call, "ec2", f"instance/{params['InstanceId']}"), context)
        return
    names = [params["Name"]] if "Name" in params and "Parameter" in call.action else params.get("Names", [])
    for parameter in names:
        yield Request(f"ssm:{call.action}", _arn(call, "ssm", f"parameter/{parameter.lstrip('/')}"), context)
    if not names:
        yield Request(f"ssm:{call.action}", "*", context)


def _autoscaling(call: AwsCall, context: Context) -> Iterator[Request]:
    group = call.params.get("AutoScalingGroupName")
    name = f"autoScalingGroup:*:autoScalingGroupName/{group}"
    yield Request(f"autoscaling:{call.action}", _arn(call, "autoscaling", name) if group else "*", context)


OF_SERVICE: dict[str, Callable[[AwsCall, Context], Iterator[Request]]] = {
    "dynamodb": _dynamodb,
    "sqs": _sqs,
    "sns": _sns,
    "events": _events,
    "logs": _logs,
    "cloudwatch": _cloudwatch,
    "s3": _s3,
    "lambda": _lambda,
    "iam": _iam,
    "ec2": _ec2,
    "ssm": _ssm,
    "autoscaling": _autoscaling,
}
