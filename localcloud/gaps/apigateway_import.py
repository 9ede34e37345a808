"""ImportRestApi and PutRestApi: Chalice sends Swagger 2.0, which API Gateway takes and moto refuses.

moto wants OpenAPI 3 and `info.description`. It is handed such a document with the same paths; the original is kept, parsed, as
`swagger_document` on moto's REST API object, for the one who serves the API.
"""

from __future__ import annotations

import copy
import json
import logging
from typing import Any

from localcloud.calls import AwsCall, AwsReply
from localcloud.front import Forward, Front
from localcloud.identity import ACCOUNT_ID

INTEGRATION = "x-amazon-apigateway-integration"

log = logging.getLogger("localcloud.gaps")


def install(front: Front) -> None:
    """Bridge both operations."""
    front.intercept("apigateway", "ImportRestApi", _import)
    front.intercept("apigateway", "PutRestApi", _import)


def _import(call: AwsCall, forward: Forward) -> AwsReply:
    try:
        document = json.loads(call.body)
    except ValueError:
        return forward(call)  # YAML, or nonsense: moto says what it thinks of it
    if not isinstance(document, dict) or not str(document.get("swagger", "")).startswith("2"):
        return forward(call)
    call.body = json.dumps(as_openapi3(document)).encode()
    reply = forward(call)
    if reply.status < 300:
        _keep(reply.json()["id"], call.region, document)
    return reply


def as_openapi3(document: dict[str, Any]) -> dict[str, Any]:
    """A document that moto takes, with the paths of a Swagger 2.0 one.

    A MOCK integration (Chalice answers CORS preflights by them) has no uri and no httpMethod; moto cannot do without.
    """
    info = {"version": "1.0", "title": "", "description": "", **document.get("info", {})}
    paths: dict[str, Any] = copy.deepcopy(document.get("paths", {}))
    for methods in paths.values():
        for method in methods.values():
            integration = method.get(INTEGRATION) if isinstance(method, dict) else None
            if integration and integration.get("type", "").lower() == "mock":
                integration.setdefault("uri", "")
                integration.setdefault("httpMethod", "POST")
    return {"openapi": "3.0.1", "info": info, "paths": paths}


def _keep(api_id: str, region: str, document: dict[str, Any]) -> None:
    from moto.backends import get_backend

    api: Any = get_backend("apigateway")[ACCOUNT_ID][region].apis[api_id]
    api.swagger_document = document
    log.info("imported rest_api=%s paths=%d", api_id, len(document.get("paths", {})))
