"""API Gateway's own answers are those that the API's gateway responses say."""

from __future__ import annotations

import json

import pytest
from moto.apigateway.models import GatewayResponse

from localcloud.gateway_responses import answer
from localcloud.rest_authorizer import Refused

UNKNOWN = Refused(403, {"message": "Missing Authentication Token"}, "MissingAuthenticationTokenException")


def test_without_any_they_are_as_aws_ships_them() -> None:
    status, headers, body = answer(UNKNOWN, {})
    assert (status, json.loads(body)) == (403, {"message": "Missing Authentication Token"})
    assert ("Content-Type", "application/json") in headers


def test_a_type_says_status_headers_and_body() -> None:
    """Constant headers stand in quotes; the message may be taken over."""
    said = GatewayResponse(
        "MISSING_AUTHENTICATION_TOKEN",
        404,
        {"gatewayresponse.header.Content-Type": "'text/x'"},
        {"application/json": '{"no": $context.error.messageString}'},
    )
    status, headers, body = answer(UNKNOWN, {"MISSING_AUTHENTICATION_TOKEN": said})
    assert (status, body) == (404, b'{"no": "Missing Authentication Token"}')
    assert ("Content-Type", "text/x") in headers


@pytest.mark.parametrize(
    ("refused", "kind"),
    [
        (Refused(401, {"message": "Unauthorized"}, "UnauthorizedException"), "UNAUTHORIZED"),
        (Refused(403, {"Message": "no"}, "AccessDeniedException"), "ACCESS_DENIED"),
        (Refused(413, {"message": "x"}, "RequestEntityTooLargeException"), "REQUEST_TOO_LARGE"),
        (Refused(504, {"message": "x"}, "InternalServerErrorException"), "INTEGRATION_TIMEOUT"),
        (Refused(502, {"message": "x"}, "InternalServerErrorException"), "DEFAULT_5XX"),
        (Refused(400, {"message": "x"}, "BadRequestException"), "DEFAULT_4XX"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_no_type_says_a_default_does(refused: Refused, kind: str) -> None:
    """One without a status keeps the refusal's own."""
    said = {kind: GatewayResponse(kind, None, None, {"application/json": "{}"})}  # type: ignore[arg-type]
    status, _, body = answer(refused, said)
    assert (status, body) == (refused.status, b"{}")
