"""What a deployment meets in moto: Swagger 2.0, mappings whose role may not receive; and the whole cloud's fault switch."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from front_cloud import FrontCloud, front_cloud
from moto.backends import get_backend
from small_cloud import package

from localcloud.cloud import Cloud
from localcloud.gaps.apigateway_import import as_openapi3

PROXY = {
    "type": "aws_proxy",
    "httpMethod": "POST",
    "uri": "arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/arn:aws:lambda:us-east-1:123456789012:function:f/invocations",
    "responses": {"default": {"statusCode": "200"}},
}
MOCK = {
    "type": "mock",
    "requestTemplates": {"application/json": '{"statusCode": 200}'},
    "responses": {"default": {"statusCode": "200"}},
}
SWAGGER: dict[str, Any] = {
    "swagger": "2.0",
    "info": {"version": "1.0", "title": "spillway"},
    "schemes": ["https"],
    "paths": {
        "/": {"get": {"responses": {"200": {}}, "x-amazon-apigateway-integration": PROXY}},
        "/jobs/{id}/log": {
            "get": {"responses": {"200": {}}, "x-amazon-apigateway-integration": PROXY},
            "options": {"responses": {"200": {}}, "x-amazon-apigateway-integration": MOCK},
        },
    },
    "securityDefinitions": {"authorize": {"type": "apiKey"}},
}


@pytest.fixture(scope="module")
def cloud() -> Iterator[FrontCloud]:
    with front_cloud() as cloud:
        yield cloud


def test_swagger_2_is_imported_deployed_and_kept_as_it_was(cloud: FrontCloud) -> None:
    """As Chalice does it: import, put over it, deploy; the original stays on moto's REST API for who serves it."""
    gateway = cloud.front.client("apigateway")
    api = gateway.import_rest_api(body=json.dumps(SWAGGER))["id"]
    assert get_backend("apigateway")["123456789012"]["us-east-1"].apis[api].swagger_document == SWAGGER
    changed = {**SWAGGER, "paths": {"/": SWAGGER["paths"]["/"]}}
    gateway.put_rest_api(restApiId=api, mode="overwrite", body=json.dumps(changed))
    gateway.create_deployment(restApiId=api, stageName="api")
    assert get_backend("apigateway")["123456789012"]["us-east-1"].apis[api].swagger_document == changed
    assert [stage["stageName"] for stage in gateway.get_stages(restApiId=api)["item"]] == ["api"]


def test_the_bridge_does_not_change_the_document_it_was_given() -> None:
    before = json.dumps(SWAGGER)
    assert as_openapi3(SWAGGER)["openapi"].startswith("3")
    assert json.dumps(SWAGGER) == before


def test_a_body_that_is_no_document_is_motos_business(cloud: FrontCloud) -> None:
    with pytest.raises(ClientError):
        cloud.front.client("apigateway").import_rest_api(body=b"swagger: '2.0'\ninfo: [")


def test_a_mapping_needs_a_role_that_may_receive(cloud: FrontCloud) -> None:
    """Without one of the three permissions Lambda refuses the mapping and names it."""
    queue = cloud.front.client("sqs").create_queue(QueueName="mapped")
    arn = f"arn:aws:sqs:us-east-1:123456789012:{queue['QueueUrl'].rpartition('/')[2]}"
    client = cloud.front.client("lambda")
    for role, actions in [("may-look", ["GetQueueAttributes", "ReceiveMessage"]), ("may", ["*"])]:
        cloud.role(role, {"Action": [f"sqs:{a}" for a in actions], "Resource": arn})
        client.create_function(
            FunctionName=role,
            Runtime="python3.11",
            Role=f"arn:aws:iam::123456789012:role/{role}",
            Handler="app.handler",
            Code={"ZipFile": package("def handler(event, context): pass")},
        )
    with pytest.raises(ClientError, match="does not have permissions to call DeleteMessage on SQS"):
        client.create_event_source_mapping(EventSourceArn=arn, FunctionName="may-look")
    client.create_event_source_mapping(EventSourceArn=arn, FunctionName="may")


# --- the whole cloud -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    get_backend("ec2").reset()
    with Cloud(tmp_path_factory.mktemp("whole")) as cloud:
        yield cloud


def post(cloud: Cloud, path: str, document: Any) -> tuple[int, Any]:
    request = urllib.request.Request(cloud.front.url + path, json.dumps(document).encode(), method="POST")
    try:
        with urllib.request.urlopen(request) as reply:
            return reply.status, json.loads(reply.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def launch(cloud: Cloud, kind: str) -> str:
    ran = cloud.front.client("ec2").run_instances(
        ImageId="ami-12c6146b", InstanceType=kind, MinCount=1, MaxCount=1, UserData="#!/bin/sh\nsleep 100\n"
    )
    return str(ran["Instances"][0]["InstanceId"])


def test_capacity_is_refused_for_what_was_named_and_as_often(whole: Cloud) -> None:
    fault = {"kind": "refuse_capacity", "instance_type": "c7i.large", "market": "on_demand", "count": 1}
    assert post(whole, "/_faults", fault)[0] == 200
    other = launch(whole, "m7i.large")
    with pytest.raises(ClientError) as caught:
        launch(whole, "c7i.large")
    assert caught.value.response["Error"]["Code"] == "InsufficientInstanceCapacity"
    again = launch(whole, "c7i.large")
    whole.front.client("ec2").terminate_instances(InstanceIds=[other, again])


def test_a_lost_host_has_no_processes_any_more(whole: Cloud) -> None:
    instance = launch(whole, "m7i.large")
    assert whole.fleet.wait(lambda: whole.fleet.machine(instance).state == "running")
    assert post(whole, "/_faults", {"kind": "lose_host", "instance_id": instance})[0] == 200
    whole.front.client("ec2").terminate_instances(InstanceIds=[instance])
    assert whole.fleet.wait(lambda: instance not in whole.fleet.alive())


def test_an_on_demand_instance_cannot_be_interrupted(whole: Cloud) -> None:
    instance = launch(whole, "m7i.large")
    status, answer = post(whole, "/_faults", {"kind": "interrupt", "instance_id": instance})
    assert (status, "not a spot instance" in answer["detail"]) == (400, True)
    whole.front.client("ec2").terminate_instances(InstanceIds=[instance])
    status, answer = post(whole, "/_faults", {"kind": "lose_host", "instance_id": "i-nobody"})
    assert (status, answer["detail"]) == (400, "There is no 'i-nobody' to lose host.")


def test_the_counts_of_denials_are_served(whole: Cloud) -> None:
    with urllib.request.urlopen(whole.front.url + "/_iam") as reply:
        assert json.loads(reply.read()) == {"denied": [], "used": [], "unused": []}
