"""What API Gateway itself answers - no token, no such route, too large - as problem documents, like everything else of the API.

Chalice cannot say these, and replaces the whole API each time that it deploys: so they are put after each deployment, and the stage is
deployed once more, for only then do they count.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

STAGE = "api"  # Chalice's own default, which `.chalice/config.json` keeps

# Type of API Gateway's → status, sentence. The last two stand for all types that are not named.
RESPONSES: dict[str, tuple[int, str]] = {
    "UNAUTHORIZED": (401, "say who you are: Authorization: Bearer spw_…"),
    "ACCESS_DENIED": (403, "this token opens nothing here: it is unknown, revoked, or over"),
    "MISSING_AUTHENTICATION_TOKEN": (404, "there is no such route; /openapi.json has all there are"),
    "RESOURCE_NOT_FOUND": (404, "there is no such route; /openapi.json has all there are"),
    "REQUEST_TOO_LARGE": (413, "the request is larger than anything that is taken here"),
    "THROTTLED": (429, "too many requests at once; please try again"),
    "QUOTA_EXCEEDED": (429, "too many requests; please try again later"),
    "AUTHORIZER_FAILURE": (500, "whether you may could not be found out; please try again"),
    "AUTHORIZER_CONFIGURATION_ERROR": (500, "whether you may could not be found out; please try again"),
    "INTEGRATION_TIMEOUT": (504, "Spillway did not answer in time; what you asked for may have been done"),
    "DEFAULT_4XX": (400, "the request could not be understood"),
    "DEFAULT_5XX": (502, "Spillway did not answer properly; what you asked for may have been done"),
}


def document(status: int, sentence: str) -> str:
    """A problem document (docs/contracts.md §7)."""
    title = HTTPStatus(status).phrase
    return json.dumps({"type": "about:blank", "title": title, "status": status, "detail": sentence, "errors": []})


def put(gateway: Any, api_id: str) -> None:
    """Say them, and let them count. `gateway` is a client of API Gateway, which allows few deployments a minute: it should retry."""
    for kind, (status, sentence) in RESPONSES.items():
        gateway.put_gateway_response(
            restApiId=api_id,
            responseType=kind,
            statusCode=str(status),
            responseParameters={"gatewayresponse.header.Content-Type": "'application/problem+json'"},
            responseTemplates={"application/json": document(status, sentence)},
        )
    gateway.create_deployment(restApiId=api_id, stageName=STAGE)
