"""Signatures are checked for real: wrong secrets, tokens, bodies and times are refused as AWS refuses them."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from front_cloud import FrontCloud, front_cloud

from localcloud.identity import Credentials


@pytest.fixture(scope="module")
def cloud() -> Iterator[FrontCloud]:
    with front_cloud() as cloud:
        cloud.role("worker", {"Action": "*", "Resource": "*"})
        cloud.front.client("s3").create_bucket(Bucket="signed")
        yield cloud


@pytest.fixture
def credentials(cloud: FrontCloud) -> Credentials:
    cloud.clock.shift_s = 0.0
    return cloud.identities.issue("worker", "i-0abc", 3600)


def code_of(caught: pytest.ExceptionInfo[ClientError]) -> str:
    return str(caught.value.response["Error"]["Code"])


def fetch(url: str, method: str = "GET", body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    request = urllib.request.Request(url, data=body, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


CALLS = [
    ("sqs", "list_queues", {}),
    ("dynamodb", "list_tables", {}),
    ("sns", "list_topics", {}),
    ("ec2", "describe_instances", {}),
    ("s3", "list_objects_v2", {"Bucket": "signed", "Prefix": "a b/ü+&=*~"}),
    ("lambda", "list_functions", {}),
    ("iam", "list_roles", {}),
    ("cloudwatch", "list_metrics", {}),
    ("apigateway", "get_rest_apis", {"limit": 5}),
]


@pytest.mark.parametrize(("service", "operation", "parameters"), CALLS)
def test_what_boto3_signs_is_accepted(
    cloud: FrontCloud, credentials: Credentials, service: str, operation: str, parameters: dict[str, Any]
) -> None:
    getattr(cloud.client_as(service, credentials), operation)(**parameters)


@pytest.mark.parametrize(("service", "operation", "parameters"), CALLS)
def test_a_wrong_secret_is_refused_in_every_protocol(
    cloud: FrontCloud, credentials: Credentials, service: str, operation: str, parameters: dict[str, Any]
) -> None:
    client = cloud.client_as(service, credentials, secret="another")
    with pytest.raises(ClientError) as caught:
        getattr(client, operation)(**parameters)
    assert code_of(caught) == "SignatureDoesNotMatch"


@pytest.mark.parametrize("key", ["plain", "a b/c+d/ü~!'()*", "with%20percent", "dots/../x", "a//b"])
def test_every_key_that_s3_takes_can_be_signed(cloud: FrontCloud, credentials: Credentials, key: str) -> None:
    s3 = cloud.client_as("s3", credentials)
    s3.put_object(Bucket="signed", Key=key, Body=b"body", Metadata={"under_score": "1"})
    assert s3.get_object(Bucket="signed", Key=key)["Body"].read() == b"body"


def test_a_key_without_its_session_token_is_refused(cloud: FrontCloud, credentials: Credentials) -> None:
    with pytest.raises(ClientError) as caught:
        cloud.client_as("dynamodb", credentials, token="stolen").list_tables()
    assert code_of(caught) == "UnrecognizedClientException"
    with pytest.raises(ClientError) as caught:
        cloud.client_as("s3", credentials, token="stolen").list_buckets()
    assert code_of(caught) == "InvalidToken"


def test_an_expired_session_is_told_so(cloud: FrontCloud) -> None:
    ended = cloud.identities.issue("worker", "i-0abc", -1)
    for service, operation, code in [
        ("sqs", "list_queues", "ExpiredToken"),
        ("dynamodb", "list_tables", "ExpiredTokenException"),
        ("s3", "list_buckets", "ExpiredToken"),
        ("sns", "list_topics", "ExpiredToken"),
    ]:
        with pytest.raises(ClientError) as caught:
            getattr(cloud.client_as(service, ended), operation)()
        assert code_of(caught) == code


def test_a_revoked_session_is_over_at_once(cloud: FrontCloud, credentials: Credentials) -> None:
    cloud.identities.revoke(credentials.access_key)
    with pytest.raises(ClientError) as caught:
        cloud.client_as("sqs", credentials).list_queues()
    assert code_of(caught) == "ExpiredToken"


def test_a_clock_that_is_wrong_by_more_than_15_minutes_is_refused(cloud: FrontCloud, credentials: Credentials) -> None:
    cloud.clock.shift_s = 1000
    with pytest.raises(ClientError) as caught:
        cloud.client_as("s3", credentials).list_buckets()
    assert code_of(caught) == "RequestTimeTooSkewed"


def test_a_body_changed_on_the_way_is_refused(cloud: FrontCloud, credentials: Credentials) -> None:
    """The same signed head with another body."""
    s3 = cloud.client_as("s3", credentials)
    heads: list[Any] = []
    s3.meta.events.register("before-send.s3", lambda request, **_: heads.append(request))
    s3.put_object(Bucket="signed", Key="k", Body=b"hello")
    headers = {k: v.decode() if isinstance(v, bytes) else str(v) for k, v in heads[0].headers.items()}
    headers.pop("Content-Length", None)
    headers.pop("Expect", None)
    assert fetch(heads[0].url, "PUT", b"hellO", **headers)[0] == 403


def test_a_presigned_url_gives_what_it_was_made_for_and_no_more(cloud: FrontCloud, credentials: Credentials) -> None:
    """GET and PUT by URL work; another key, another method or a longer life do not."""
    s3 = cloud.client_as("s3", credentials)
    put = s3.generate_presigned_url("put_object", {"Bucket": "signed", "Key": "up/load é"}, ExpiresIn=60)
    assert fetch(put, "PUT", b"data")[0] == 200
    get = s3.generate_presigned_url("get_object", {"Bucket": "signed", "Key": "up/load é"}, ExpiresIn=60)
    assert fetch(get) == (200, b"data")
    assert fetch(get, "PUT", b"other")[0] == 403
    assert fetch(get.replace("load", "lord"))[0] == 403
    assert fetch(get.replace("X-Amz-Expires=60", "X-Amz-Expires=600"))[0] == 403
    assert fetch(get.replace("X-Amz-Expires=60", "X-Amz-Expires=6000000"))[0] == 400


def test_a_presigned_url_expires(cloud: FrontCloud, credentials: Credentials) -> None:
    """Also the developer's, whose signature is not checked."""
    for s3 in (cloud.client_as("s3", credentials), cloud.front.client("s3")):
        cloud.clock.shift_s = 0
        url = s3.generate_presigned_url("get_object", {"Bucket": "signed", "Key": "plain"}, ExpiresIn=60)
        cloud.clock.shift_s = 61
        status, body = fetch(url)
        assert (status, b"Request has expired" in body) == (403, True)


def test_a_url_signed_by_a_session_ends_with_the_session(cloud: FrontCloud) -> None:
    """A Lambda function's URLs live no longer than its credentials, whatever they say."""
    cloud.clock.shift_s = 0
    brief = cloud.identities.issue("worker", "function", 5)
    s3 = cloud.client_as("s3", brief)
    s3.put_object(Bucket="signed", Key="brief", Body=b"x")
    url = s3.generate_presigned_url("get_object", {"Bucket": "signed", "Key": "brief"}, ExpiresIn=3600)
    assert fetch(url)[0] == 200
    cloud.clock.shift_s = 6
    assert fetch(url)[0] == 400


def test_the_old_signature_is_refused(cloud: FrontCloud, credentials: Credentials) -> None:
    """Buckets made since June 2020 take SigV4 only; boto3 without `signature_version="s3v4"` would hand out dead URLs."""
    url = f"{cloud.front.url}/signed/plain?AWSAccessKeyId={credentials.access_key}&Signature=x&Expires=9999999999"
    status, body = fetch(url)
    assert (status, b"AWS4-HMAC-SHA256" in body) == (400, True)


def test_nothing_is_public(cloud: FrontCloud) -> None:
    assert fetch(f"{cloud.front.url}/signed/plain")[0] == 403
