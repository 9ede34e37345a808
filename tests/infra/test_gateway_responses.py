"""What API Gateway itself answers is what the API's description says of refusals."""

from __future__ import annotations

from typing import Any

import msgspec

from chalicelib.api.openapi import Problem
from infra import gateway_responses


class Gateway:
    """Notes what it is asked for, in order."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def put_gateway_response(self, **request: Any) -> None:
        self.asked.append(("put", request))

    def create_deployment(self, **request: Any) -> None:
        self.asked.append(("deploy", request))


def test_each_is_a_problem_of_its_own_status_and_they_count_after_a_deployment() -> None:
    gateway = Gateway()
    gateway_responses.put(gateway, "api-1")
    *puts, last = gateway.asked
    assert last == ("deploy", {"restApiId": "api-1", "stageName": "api"})
    assert {request["responseType"] for _, request in puts} >= {"DEFAULT_4XX", "DEFAULT_5XX", "UNAUTHORIZED"}
    for _, request in puts:
        problem = msgspec.json.decode(request["responseTemplates"]["application/json"], type=Problem)
        assert str(problem.status) == request["statusCode"]
        assert request["responseParameters"] == {
            "gatewayresponse.header.Content-Type": "'application/problem+json'",
        }
        assert not problem.errors
