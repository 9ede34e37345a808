"""One AWS API call as the embedded cloud sees it, and its reply.

`read_call` finds out of a plain HTTP request which service and operation is meant: from the credential scope (header or
presigned query), X-Amz-Target, the query protocol's Action, or, for REST protocols, by botocore's service models.
"""

from __future__ import annotations

import io
import json
import secrets
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from localcloud.identity import ACCOUNT_ID, Principal

SERVICE_OF_SCOPE = {"monitoring": "cloudwatch", "tagging": "resourcegroupstaggingapi"}
REST_SERVICES = frozenset({"s3", "lambda", "apigateway", "apigatewayv2", "scheduler", "pipes", "batch", "efs", "eks"})
QUERY_CODES = {  # how SQS, which once spoke the query protocol, still spells them
    "AccessDeniedException": "AccessDenied",
    "ExpiredTokenException": "ExpiredToken",
    "UnrecognizedClientException": "InvalidClientTokenId",
}
DEFAULT_REGION = "us-east-1"


@dataclass
class AwsCall:
    """A call. `params`: the JSON body's object; the flat form fields of query protocols ("TagSpecification.1.Tag.1.Key");
    path and query parameters by their botocore names for REST ones. `action` is "" when it cannot be told."""

    service: str
    action: str
    region: str
    access_key: str | None
    principal: Principal | None
    params: dict[str, Any]
    environ: dict[str, Any]
    body: bytes

    @property
    def protocol(self) -> str:
        """Which shape errors must have: ec2, query, json, rest-json, s3."""
        if self.service in ("s3", "ec2"):
            return self.service
        if self.service in REST_SERVICES:
            return "rest-json"
        return (
            "json" if "HTTP_X_AMZ_TARGET" in self.environ or "json" in self.environ.get("CONTENT_TYPE", "") else "query"
        )

    def arn(self, service: str, resource: str) -> str:
        """The ARN of a resource in the call's region and account."""
        return f"arn:aws:{service}:{self.region}:{ACCOUNT_ID}:{resource}"


@dataclass
class AwsReply:
    """A reply: HTTP status, headers (one value each) and the whole body."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @classmethod
    def of_json(cls, document: Any, status: int = 200, content_type: str = "application/x-amz-json-1.0") -> AwsReply:
        """A reply with a JSON body."""
        return cls(status, {"Content-Type": content_type}, json.dumps(document).encode())

    def json(self) -> Any:
        """The body, parsed as JSON; {} when empty."""
        return json.loads(self.body) if self.body else {}


def indexed(params: dict[str, Any], prefix: str) -> list[str]:
    """The values of a query protocol's list in order: `InstanceId.1`, `InstanceId.2`, …"""
    values: list[str] = []
    while (value := params.get(f"{prefix}.{len(values) + 1}")) is not None:
        values.append(value)
    return values


def read_call(environ: dict[str, Any]) -> AwsCall:
    """What a WSGI request asks for; `principal` is still None (the front looks the key up)."""
    body: bytes = environ["localcloud.body"]
    query = dict(parse_qsl(environ["QUERY_STRING"], keep_blank_values=True)) if environ["QUERY_STRING"] else {}
    access_key, region, scope = _scope(environ, query)
    service = SERVICE_OF_SCOPE.get(scope, scope)
    target = environ.get("HTTP_X_AMZ_TARGET")
    content_type = environ.get("CONTENT_TYPE", "")
    if target is not None:
        action, params = target.rpartition(".")[2], _json_object(body)
    elif service in REST_SERVICES:
        action, params = _rest(service, environ)
        params = {**query, **params}
    elif "/operation/" in environ["PATH_INFO"]:  # smithy RPC v2
        action, params = environ["PATH_INFO"].rpartition("/")[2], query
    else:
        params = query
        if content_type.startswith("application/x-www-form-urlencoded"):
            params = {**query, **dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))}
        action = str(params.get("Action", ""))
    return AwsCall(service, action, region, access_key, None, params, environ, body)


def _scope(environ: dict[str, Any], query: dict[str, str]) -> tuple[str | None, str, str]:
    """Access key, region and signing name: `AKID/20260101/us-east-1/sqs/aws4_request`."""
    credential = query.get("X-Amz-Credential")
    authorization = environ.get("HTTP_AUTHORIZATION", "")
    if credential is None and "Credential=" in authorization:
        credential = authorization.split("Credential=", 1)[1].split(",")[0]
    parts = credential.split("/") if credential else []
    if len(parts) >= 5:
        return "/".join(parts[:-4]), parts[-3], parts[-2].lower()
    return (
        query.get("AWSAccessKeyId"),
        DEFAULT_REGION,
        "s3",
    )  # what has no scope is S3's: public objects, old signatures


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body) if body else {}
    except ValueError:
        return {}  # moto says what is wrong with it
    return document if isinstance(document, dict) else {}


def _rest(service: str, environ: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    from moto.core.request import Request
    from moto.core.routing import get_service_router
    from werkzeug.exceptions import HTTPException

    try:
        operation, params = get_service_router(service).match(Request(environ))
    except (HTTPException, NotImplementedError):
        return "", {}
    return str(operation.name), dict(params)


def with_body(call: AwsCall) -> dict[str, Any]:
    """A fresh environ of the call for the next application, carrying the call's present body."""
    environ = dict(call.environ)
    environ["localcloud.body"] = call.body
    environ["wsgi.input"] = io.BytesIO(call.body)
    environ["CONTENT_LENGTH"] = str(len(call.body))
    return environ


def refusal(call: AwsCall, code: str, message: str, status: int = 403) -> AwsReply:
    """An error in the form that the call's protocol has for it; `code` as the query protocols spell it."""
    request_id = secrets.token_hex(16)
    protocol = call.protocol
    if protocol == "s3":
        text = (
            f"<Error><Code>{code}</Code><Message>{escape(message)}</Message><RequestId>{request_id}</RequestId></Error>"
        )
        return _xml(text, status, request_id)
    if protocol == "ec2":
        text = f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
        return _xml(
            f"<Response><Errors>{text}</Errors><RequestID>{request_id}</RequestID></Response>", status, request_id
        )
    if protocol == "query":
        text = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
        return _xml(f"<ErrorResponse>{text}<RequestId>{request_id}</RequestId></ErrorResponse>", status, request_id)
    if protocol == "rest-json":
        reply = AwsReply.of_json({"message": message, "Message": message}, status, "application/json")
    else:
        reply = AwsReply.of_json({"__type": f"com.amazon.coral.service#{code}", "message": message}, status)
        if call.service == "sqs":
            reply.headers["x-amzn-query-error"] = f"{QUERY_CODES.get(code, code)};Sender"
    reply.headers["x-amzn-ErrorType"] = code
    reply.headers["x-amzn-RequestId"] = request_id
    return reply


def _xml(text: str, status: int, request_id: str) -> AwsReply:
    head = '<?xml version="1.0" encoding="UTF-8"?>\n'
    return AwsReply(status, {"Content-Type": "text/xml", "x-amzn-RequestId": request_id}, (head + text).encode())
