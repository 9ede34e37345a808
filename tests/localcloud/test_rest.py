"""The REST API over HTTP behaves as API Gateway's proxy integration does."""

import base64
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from moto.backends import get_backend
from small_cloud import SmallCloud, small_cloud

from localcloud.rest import RestApi
from localcloud.rest_authorizer import evaluate

API = """
    import json, time
    def handler(event, context):
        if event["path"] == "/broken": return {"statusCode": "many"}
        if event["path"] == "/raises": raise ValueError("no")
        if event["path"] == "/slow": time.sleep(3)
        if event["path"] == "/image":
            return {"statusCode": 200, "isBase64Encoded": True, "body": "AAEC", "headers": {"Content-Type": "image/png"}}
        return {"statusCode": 201, "body": json.dumps(event),
                "headers": {"Content-Type": "application/json", "X-Mine": "1"}, "multiValueHeaders": {"Set-Cookie": ["a=1", "b=2"]}}
    """
AUTHORIZER = """
    calls = 0
    def handler(event, context):
        global calls
        calls += 1
        token = event["authorizationToken"]
        if token == "Unauthorized": raise Exception("Unauthorized")
        if token == "crash": raise ValueError("oops")
        arn = event["methodArn"]
        resource = {"all": arn.split("/")[0] + "/*", "jobs": arn.split("/")[0] + "/api/GET/jobs/*"}.get(token, arn)
        effect = "Deny" if token == "deny" else "Allow"
        return {"principalId": "user", "context": {"calls": calls, "admin": True, "name": "Ada"},
                "policyDocument": {"Version": "2012-10-17", "Statement": [
                    {"Action": "execute-api:Invoke", "Effect": effect, "Resource": [resource]}]}}
    """


def swagger(function: str, authorizer: str, ttl_s: int = 300) -> dict[str, Any]:
    """A document as Chalice writes it."""

    def uri(arn: str) -> str:
        return f"arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/{arn}/invocations"

    operation = {"x-amazon-apigateway-integration": {"uri": uri(function), "type": "aws_proxy", "httpMethod": "POST"}}
    guarded = operation | {"security": [{"auth": []}]}
    preflight = {
        "x-amazon-apigateway-integration": {
            "type": "mock",
            "responses": {
                "default": {"responseParameters": {"method.response.header.Access-Control-Allow-Origin": "'*'"}}
            },
        }
    }
    return {
        "swagger": "2.0",
        "info": {"title": "test", "version": "1.0"},
        "paths": {
            "/": {"get": operation},
            "/open": {"get": operation, "post": operation, "options": preflight},
            "/broken": {"get": operation},
            "/raises": {"get": operation},
            "/slow": {"get": operation},
            "/image": {"get": operation},
            "/jobs": {"get": guarded, "post": guarded},
            "/jobs/{id}": {"get": guarded},
            "/jobs/batch": {"get": operation},
            "/jobs/{id}/log": {"get": guarded},
        },
        "x-amazon-apigateway-binary-media-types": ["application/octet-stream", "image/*"],
        "securityDefinitions": {
            "auth": {
                "in": "header",
                "type": "apiKey",
                "name": "Authorization",
                "x-amazon-apigateway-authtype": "custom",
                "x-amazon-apigateway-authorizer": {
                    "type": "token",
                    "authorizerUri": uri(authorizer),
                    "authorizerResultTtlInSeconds": ttl_s,
                },
            }
        },
    }


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[SmallCloud]:
    with small_cloud(tmp_path) as cloud:
        yield cloud


Make = Callable[..., httpx.Client]


@pytest.fixture
def api(cloud: SmallCloud) -> Iterator[Make]:
    """Deploys the API and gives a client of it."""
    clients: list[httpx.Client] = []

    def make(ttl_s: int = 300, rest: RestApi | None = None) -> httpx.Client:
        document = swagger(cloud.deploy("api", API), cloud.deploy("auth", AUTHORIZER), ttl_s)
        gateway = cloud.front.client("apigateway")
        api_id = gateway.create_rest_api(name="test")["id"]
        root = gateway.get_resources(restApiId=api_id)["items"][0]["id"]
        gateway.put_method(restApiId=api_id, resourceId=root, httpMethod="GET", authorizationType="NONE")
        gateway.put_integration(restApiId=api_id, resourceId=root, httpMethod="GET", type="MOCK")
        gateway.create_deployment(restApiId=api_id, stageName="api")
        get_backend("apigateway")["123456789012"]["us-east-1"].apis[api_id].swagger_document = document
        if rest is not None:
            rest.start()
        url = cloud.rest.api_url()
        assert url is not None
        clients.append(httpx.Client(base_url=url, timeout=30, trust_env=False))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def test_the_event_has_the_proxy_integrations_full_shape(api: Make) -> None:
    """Version 1.0: resource, path, headers, query, parameters, context, body."""
    answer = api().post("/open?a=1&a=2&b=", json={"x": "ä"}, headers={"X-Thing": "7"})
    event = answer.json()
    assert answer.status_code == 201
    assert (event["resource"], event["path"], event["httpMethod"]) == ("/open", "/open", "POST")
    assert event["headers"]["X-Thing"] == "7"
    assert event["multiValueHeaders"]["X-Thing"] == ["7"]
    assert event["queryStringParameters"] == {"a": "2", "b": ""}
    assert event["multiValueQueryStringParameters"] == {"a": ["1", "2"], "b": [""]}
    assert event["pathParameters"] is None
    assert event["stageVariables"] is None
    assert (json.loads(event["body"]), event["isBase64Encoded"]) == ({"x": "ä"}, False)
    context = event["requestContext"]
    assert (context["stage"], context["path"], context["httpMethod"]) == ("api", "/api/open", "POST")
    assert {
        "requestId",
        "accountId",
        "apiId",
        "identity",
        "requestTimeEpoch",
        "resourcePath",
        "protocol",
    } <= context.keys()
    assert context["identity"]["sourceIp"] == "127.0.0.1"


def test_the_answer_keeps_status_headers_and_cookies(api: Make) -> None:
    """Single and multi-value headers reach the client."""
    answer = api().get("/open")
    assert answer.headers["x-mine"] == "1"
    assert answer.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert answer.headers["x-amzn-requestid"]


def test_an_unknown_route_is_refused_as_api_gateway_does(api: Make) -> None:
    """403 with the famous misleading sentence, also for a known path with another method."""
    client = api()
    for answer in (client.get("/nothing"), client.delete("/open")):
        assert (answer.status_code, answer.json()) == (403, {"message": "Missing Authentication Token"})


def test_a_literal_path_wins_over_a_parameter(api: Make) -> None:
    """/jobs/batch is not the job named batch; parameters are decoded."""
    client = api()
    assert client.get("/jobs/batch").json()["resource"] == "/jobs/batch"
    event = client.get("/jobs/a%20b", headers={"Authorization": "all"}).json()
    assert (event["resource"], event["pathParameters"]) == ("/jobs/{id}", {"id": "a b"})


def test_without_a_token_nobody_gets_in(api: Make) -> None:
    """401 before the authorizer is even asked; the same when it says so."""
    client = api()
    for headers in ({}, {"Authorization": "Unauthorized"}):
        answer = client.get("/jobs", headers=headers)
        assert (answer.status_code, answer.json()) == (401, {"message": "Unauthorized"})


def test_the_policy_decides(api: Make) -> None:
    """Explicit deny and no allow are told apart; a crashing authorizer is a 500."""
    client = api()
    denied = client.get("/jobs", headers={"Authorization": "deny"})
    assert denied.status_code == 403
    assert denied.json() == {"Message": "User is not authorized to access this resource with an explicit deny"}
    outside = client.post("/jobs", headers={"Authorization": "jobs"}, json={})
    assert (outside.status_code, outside.json()) == (403, {"Message": "User is not authorized to access this resource"})
    assert client.get("/jobs/1", headers={"Authorization": "jobs"}).status_code == 201
    assert client.get("/jobs", headers={"Authorization": "crash"}).status_code == 500


def test_the_context_reaches_the_function_as_strings(api: Make) -> None:
    """requestContext.authorizer carries principalId and the context, stringified as API Gateway does."""
    event = api().get("/jobs", headers={"Authorization": "all"}).json()
    authorizer = event["requestContext"]["authorizer"]
    assert (authorizer["principalId"], authorizer["name"], authorizer["admin"]) == ("user", "Ada", "true")


def test_the_authorizers_answer_is_kept_for_its_time(api: Make) -> None:
    """One call for many requests with the same token."""
    client = api()
    calls = [client.get("/jobs/1", headers={"Authorization": "all"}).json() for _ in range(3)]
    assert [event["requestContext"]["authorizer"]["calls"] for event in calls] == ["1", "1", "1"]


def test_a_ttl_of_zero_asks_each_time(api: Make) -> None:
    """authorizerResultTtlInSeconds = 0 turns the cache off."""
    client = api(ttl_s=0)
    calls = [client.get("/jobs/1", headers={"Authorization": "all"}).json() for _ in range(2)]
    assert [event["requestContext"]["authorizer"]["calls"] for event in calls] == ["1", "2"]


def test_binary_bodies_travel_as_base64(api: Make) -> None:
    """Both ways: what is sent as a binary type, and what is answered to a client that accepts one."""
    client = api()
    event = client.post("/open", content=b"\x00\xff", headers={"Content-Type": "application/octet-stream"}).json()
    assert (event["body"], event["isBase64Encoded"]) == (base64.b64encode(b"\x00\xff").decode(), True)
    assert client.get("/image", headers={"Accept": "image/png"}).content == b"\x00\x01\x02"
    assert client.get("/image", headers={"Accept": "text/plain"}).content == b"AAEC"


def test_a_body_over_the_limit_is_refused(api: Make) -> None:
    """10 MiB is API Gateway's limit."""
    answer = api().post("/open", content=b"x" * 10_485_761)
    assert (answer.status_code, answer.json()) == (413, {"message": "Request Too Long"})


def test_a_function_that_fails_or_answers_nonsense_is_a_502(api: Make) -> None:
    """The client learns nothing but that."""
    client = api()
    for path in ("/broken", "/raises"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()) == (502, {"message": "Internal server error"})


def test_a_slow_function_is_a_504(cloud: SmallCloud, api: Make) -> None:
    """The integration's time is limited (29 s; here 0.3 s)."""
    client = api(rest=RestApi(cloud.front, cloud.functions, integration_timeout_s=0.3))
    answer = client.get("/slow")
    assert (answer.status_code, answer.json()) == (504, {"message": "Endpoint request timed out"})


def test_a_preflight_needs_no_function(api: Make) -> None:
    """A mock integration answers with the headers of the document."""
    answer = api().options("/open")
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "*")


def test_an_unknown_api_is_forbidden(cloud: SmallCloud) -> None:
    """Neither a stack trace nor a hint."""
    answer = httpx.get(f"{cloud.front.url}/_rest/nobody/api/jobs", trust_env=False)
    assert (answer.status_code, answer.json()) == (403, {"message": "Forbidden"})


def test_a_warm_request_is_quick(api: Make) -> None:
    """Front, routing, authorizer's cache and worker together cost milliseconds."""
    client = api()
    client.get("/jobs/1", headers={"Authorization": "all"})
    times = []
    for _ in range(40):
        began = time.perf_counter()
        client.get("/jobs/1", headers={"Authorization": "all"})
        times.append(time.perf_counter() - began)
    assert min(times) < 0.02, times  # a busy machine slows many of them, but not all


@pytest.mark.parametrize(
    ("resource", "verdict"),
    [("*", "Allow"), ("arn:*/api/GET/jobs", "Allow"), ("arn:a/api/GET/job?", "Allow"), ("arn:a/api/POST/*", None)],
)
def test_wildcards_in_a_policy_match_as_in_iam(resource: str, verdict: str | None) -> None:
    """`*` is anything, `?` one character, and what is not named is not allowed."""
    policy = {"Statement": [{"Effect": "Allow", "Action": "execute-api:*", "Resource": resource}]}
    assert evaluate(policy, "arn:a/api/GET/jobs") == verdict
    denied = {"Statement": [*policy["Statement"], {"Effect": "Deny", "Action": "*", "Resource": "*"}]}
    assert evaluate(denied, "arn:a/api/GET/jobs") == "Deny"
