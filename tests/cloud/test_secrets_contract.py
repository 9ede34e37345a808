"""What every cloud promises of secrets."""

from __future__ import annotations

import json
from typing import Any

import pytest
from scripted_aws import scripted_aws
from worlds import World, a_session

from chalicelib.cloud.aws import aws_cloud
from chalicelib.cloud.ports import Secrets
from chalicelib.config import Settings
from chalicelib.errors import CloudUnavailable


def test_values_and_what_is_not_there_come_together(world: World):
    """From both services, by whole name, more than one request takes; nothing is raised for what is missing."""
    prefix = f"/spillway/{world.stage}/alice"
    many = [f"ssm:{prefix}/p{n}" for n in range(12)]
    for n, name in enumerate(many):
        world.keep_secret(name, f"value {n}")
    world.keep_secret(f"secretsmanager:{prefix}/s", "of the manager")
    found = world.cloud.secrets.read(
        [*many, f"secretsmanager:{prefix}/s", f"secretsmanager:{prefix}/no", f"ssm:{prefix}/no"]
    )
    assert [found[name].value for name in many] == [f"value {n}" for n in range(12)]
    assert found[f"secretsmanager:{prefix}/s"].value == "of the manager"
    assert found[f"ssm:{prefix}/no"].fault == found[f"secretsmanager:{prefix}/no"].fault == "there is none of this name"
    assert world.cloud.secrets.read([]) == {}


def at(endpoint: str) -> Secrets:
    return aws_cloud(Settings(stage="dev"), endpoint_url=endpoint, session=a_session()).secrets


def test_one_that_may_not_be_decrypted_does_not_hold_up_the_others():
    """AWS refuses all ten for it; then each is asked for alone."""

    def answer(action: str, asked: dict[str, Any]) -> tuple[int, str]:
        if "/x/bad" in asked["Names"]:
            return 400, json.dumps({"__type": "AccessDeniedException", "message": "no right to the key"})
        return 200, json.dumps(
            {"Parameters": [{"Name": n, "Value": "v"} for n in asked["Names"]], "InvalidParameters": []}
        )

    with scripted_aws(answer) as (endpoint, requests):
        found = at(endpoint).read(["ssm:/x/bad", "ssm:/x/good"])
    assert found["ssm:/x/good"].value == "v"
    assert found["ssm:/x/bad"].fault == "AWS refuses it (AccessDeniedException: no right to the key)"
    assert len(requests) == 3


@pytest.mark.parametrize("code", ["ThrottlingException", "InternalServerError"])
def test_a_service_that_is_busy_says_nothing_of_the_secret(code: str):
    body = json.dumps({"__type": code, "message": ""})
    busy = pytest.raises(CloudUnavailable, match=code)
    with scripted_aws(lambda action, asked: (400, body)) as (endpoint, _), busy:
        at(endpoint).read(["ssm:/x/a", "ssm:/x/b"])


def test_one_that_is_busy_among_several_of_the_manager_is_no_answer():
    """It would be taken for missing, and fail its job."""
    errors = [{"SecretId": "/x/a", "ErrorCode": "InternalServiceError", "Message": ""}]
    body = json.dumps({"SecretValues": [], "Errors": errors})
    with scripted_aws(lambda action, asked: (200, body)) as (endpoint, _), pytest.raises(CloudUnavailable):
        at(endpoint).read(["secretsmanager:/x/a"])
