"""The front door: real boto3 calls reach moto; interceptors, observers, mounts and errors do what they say."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from localcloud.calls import AwsCall, AwsReply, refusal
from localcloud.front import Forward, Front
from localcloud.identity import Identities


@pytest.fixture(scope="module")
def front() -> Iterator[Front]:
    front = Front(Identities())
    front.start()
    yield front
    front.stop()


def test_boto3_talks_to_five_services_through_the_front(front: Front) -> None:
    """JSON, query, ec2 and REST protocols all resolve to botocore's service and operation names."""
    queue = front.client("sqs").create_queue(QueueName="five")["QueueUrl"]
    assert queue.startswith(front.url)
    s3 = front.client("s3")
    s3.create_bucket(Bucket="five-bucket")
    s3.put_object(Bucket="five-bucket", Key="a/b c+d", Body=b"x" * 200_000)
    assert s3.get_object(Bucket="five-bucket", Key="a/b c+d")["Body"].read() == b"x" * 200_000
    front.client("ssm").put_parameter(Name="/a", Value="1", Type="String")
    front.client("ec2").describe_instances()
    front.client("lambda").list_functions()
    front.client("cloudwatch").put_metric_data(Namespace="N", MetricData=[{"MetricName": "m", "Value": 1.0}])
    for key in [("sqs", "CreateQueue"), ("s3", "PutObject"), ("ssm", "PutParameter"), ("ec2", "DescribeInstances")]:
        assert front.calls[key] == 1
    assert front.calls["lambda", "ListFunctions"] == 1
    assert front.calls["cloudwatch", "PutMetricData"] == 1


def test_a_stack_is_created_by_cloudformation(front: Front) -> None:
    """CloudFormation's resources are there for the other services afterwards."""
    template = '{"Resources": {"Q": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "by-cfn"}}}}'
    cloudformation = front.client("cloudformation")
    cloudformation.create_stack(StackName="s", TemplateBody=template)
    assert cloudformation.describe_stacks(StackName="s")["Stacks"][0]["StackStatus"] == "CREATE_COMPLETE"
    assert front.client("sqs").get_queue_url(QueueName="by-cfn")["QueueUrl"]


def test_an_interceptor_sees_the_parameters_and_may_alter_the_call(front: Front) -> None:
    """What it forwards is what moto records."""
    seen: list[dict[str, Any]] = []

    def rename(call: AwsCall, forward: Forward) -> AwsReply:
        seen.append(call.params)
        call.body = call.body.replace(b"before", b"after")
        return forward(call)

    front.intercept("sqs", "CreateQueue", rename)
    url = front.client("sqs").create_queue(QueueName="before")["QueueUrl"]
    assert seen[0]["QueueName"] == "before"
    assert url.endswith("/after")


def test_the_first_interceptor_is_the_outermost(front: Front) -> None:
    """So faults, registered first, stand before the bridges of moto's gaps."""
    order: list[str] = []

    def step(name: str) -> Any:
        def interceptor(call: AwsCall, forward: Forward) -> AwsReply:
            order.append(name)
            return forward(call)

        return interceptor

    front.intercept("sns", "ListTopics", step("first"))
    front.intercept("sns", "ListTopics", step("second"))
    front.client("sns").list_topics()
    assert order == ["first", "second"]


def test_an_observer_hears_of_successes_only_and_its_crash_harms_nobody(front: Front) -> None:
    """Observers run after 2xx replies; what they raise is logged."""
    heard: list[str] = []

    def observer(call: AwsCall, reply: AwsReply) -> None:
        heard.append(call.action)
        raise RuntimeError("an observer with a bug")

    front.observe("sqs", "GetQueueUrl", observer)
    sqs = front.client("sqs")
    with pytest.raises(ClientError):
        sqs.get_queue_url(QueueName="nowhere")
    sqs.create_queue(QueueName="somewhere")
    sqs.get_queue_url(QueueName="somewhere")
    assert heard == ["GetQueueUrl"]


def test_a_mounted_application_sees_its_prefix_as_script_name(front: Front) -> None:
    """The REST API and the fault switch live beside AWS on the same port."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("X-A", "1")])
        return [f"{environ['SCRIPT_NAME']}|{environ['PATH_INFO']}".encode()]

    front.mount("/_here", app)
    with urllib.request.urlopen(front.url + "/_here/a/b") as reply:
        assert reply.read() == b"/_here|/a/b"


@pytest.mark.parametrize(
    ("service", "operation", "parameters"),
    [
        ("sqs", "list_queues", {}),
        ("dynamodb", "list_tables", {}),
        ("sns", "list_topics", {}),
        ("ec2", "describe_instances", {}),
        ("s3", "list_buckets", {}),
        ("lambda", "list_functions", {}),
        ("apigateway", "get_rest_apis", {}),
        ("iam", "list_roles", {}),
        ("cloudwatch", "list_metrics", {}),
    ],
)
def test_a_refusal_is_understood_by_boto3_in_every_protocol(
    service: str, operation: str, parameters: dict[str, Any]
) -> None:
    """Code and sentence arrive, whatever form the protocol gives to errors."""

    class Refuse:
        def check(self, call: AwsCall) -> AwsReply | None:
            return refusal(call, "AccessDenied", "Not <you> & not now.")

    front = Front(Identities(), guards=[Refuse()])
    front.start()
    try:
        with pytest.raises(ClientError) as caught:
            getattr(front.client(service), operation)(**parameters)
        assert caught.value.response["Error"]["Code"] == "AccessDenied"
        assert caught.value.response["Error"]["Message"] == "Not <you> & not now."
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    finally:
        front.stop()
