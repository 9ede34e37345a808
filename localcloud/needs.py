"""What a call needs to be allowed: IAM actions, the ARNs they are about, and the condition keys' values.

One function a service, from AWS's service authorization reference. Names of tables, queues and instances come from the call; tags and hash
keys are read from moto. Services that no policy of ours names fall back to `<service>:<Operation>` on "*".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote

from localcloud.calls import AwsCall
from localcloud.gaps.dynamodb_inserts import inserted
from localcloud.identity import ACCOUNT_ID
from localcloud.needs_asg import autoscaling
from localcloud.needs_ec2 import Context, ec2, ssm
from localcloud.policy import Request

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
            context["ec2:sourceinstancearn"] = [call.arn("ec2", f"instance/{principal.session}")]
    return context


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
        case "BatchExecuteStatement":
            for statement in params.get("Statements", []):
                insert = inserted(statement.get("Statement", ""), statement.get("Parameters", []))
                if insert is None:
                    yield Request("dynamodb:PartiQLUnknown", "*", context)
                else:
                    yield need("PartiQLInsert", insert[0], [insert[1]])
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
    arn = table if table.startswith("arn:") else call.arn("dynamodb", f"table/{table}")
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
    yield Request(f"sqs:{action}", call.arn("sqs", name) if name else "*", context)


def _sns(call: AwsCall, context: Context) -> Iterator[Request]:
    params = call.params
    target = (
        params.get("TopicArn") or params.get("TargetArn") or params.get("ResourceArn") or params.get("SubscriptionArn")
    )
    if target is None and "Name" in params:
        target = call.arn("sns", params["Name"])
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
                "events:PutEvents", bus if bus.startswith("arn:") else call.arn("events", f"event-bus/{bus}"), keyed
            )
        return
    name = params.get("Name") or params.get("Rule")
    yield Request(f"events:{call.action}", call.arn("events", f"rule/{name}") if name else "*", context)


def _logs(call: AwsCall, context: Context) -> Iterator[Request]:
    group, stream = call.params.get("logGroupName"), call.params.get("logStreamName")
    resource = "*"
    if group:
        resource = call.arn("logs", f"log-group:{group}:" + (f"log-stream:{stream}" if stream else "*"))
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
        resource = name if name.startswith("arn:") else call.arn("lambda", f"function:{name}")
    yield Request(f"lambda:{action or 'Unknown'}", resource, context)


def _iam(call: AwsCall, context: Context) -> Iterator[Request]:
    resource = "*"
    for field, kind in (("RoleName", "role"), ("InstanceProfileName", "instance-profile"), ("UserName", "user")):
        if field in call.params:
            resource = f"arn:aws:iam::{ACCOUNT_ID}:{kind}/{call.params[field]}"
            break
    yield Request(f"iam:{call.action}", resource, context)


def _secretsmanager(call: AwsCall, context: Context) -> Iterator[Request]:
    """Several at once need the right to each; the suffix that AWS gives a secret's ARN is any."""
    ids = call.params.get("SecretIdList") or ([call.params["SecretId"]] if "SecretId" in call.params else [])
    if call.action == "BatchGetSecretValue":
        yield Request("secretsmanager:BatchGetSecretValue", "*", context)
    action = "GetSecretValue" if call.action == "BatchGetSecretValue" else call.action
    for name in ids:
        arn = name if name.startswith("arn:") else call.arn("secretsmanager", f"secret:{name}-AbCdEf")
        yield Request(f"secretsmanager:{action}", arn, context)
    if not ids and call.action != "BatchGetSecretValue":
        yield Request(f"secretsmanager:{call.action}", "*", context)


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
    "ec2": ec2,
    "ssm": ssm,
    "autoscaling": autoscaling,
    "secretsmanager": _secretsmanager,
}
