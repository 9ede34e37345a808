"""SQS as it is and not as moto has it: deduplication that outlives the message, its answers, forms as bodies, faults on queues."""

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

from localcloud.gaps.sqs_fifo import Deduplication


@pytest.fixture(scope="module")
def cloud() -> Iterator[FrontCloud]:
    with front_cloud() as cloud:
        yield cloud


@pytest.fixture
def fifo(cloud: FrontCloud, request: pytest.FixtureRequest) -> str:
    name = f"q{abs(hash(request.node.name)) % 10**8}.fifo"
    created = cloud.front.client("sqs").create_queue(QueueName=name, Attributes={"FifoQueue": "true"})
    return str(created["QueueUrl"])


@pytest.fixture
def standard(cloud: FrontCloud, request: pytest.FixtureRequest) -> str:
    name = f"q{abs(hash(request.node.name)) % 10**8}"
    return str(cloud.front.client("sqs").create_queue(QueueName=name)["QueueUrl"])


def send(cloud: FrontCloud, url: str, dedup: str, body: str = "x", group: str = "g") -> dict[str, Any]:
    sent: dict[str, Any] = cloud.front.client("sqs").send_message(
        QueueUrl=url, MessageBody=body, MessageGroupId=group, MessageDeduplicationId=dedup
    )
    return sent


def received(cloud: FrontCloud, url: str) -> list[str]:
    """Receive and delete all that can be had now; their bodies."""
    sqs = cloud.front.client("sqs")
    bodies = []
    while got := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        for message in got:
            bodies.append(message["Body"])
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return bodies


def test_an_id_stays_swallowed_after_its_message_was_deleted(cloud: FrontCloud, fifo: str) -> None:
    """This is what makes `pass_no` necessary in the wakes queue."""
    first = send(cloud, fifo, "pool:1", "first")
    assert received(cloud, fifo) == ["first"]
    again = send(cloud, fifo, "pool:1", "second")
    assert received(cloud, fifo) == []
    assert (again["MessageId"], again["SequenceNumber"]) == (first["MessageId"], first["SequenceNumber"])
    send(cloud, fifo, "pool:2", "third")
    assert received(cloud, fifo) == ["third"]


def test_an_id_is_swallowed_while_its_message_waits_or_is_worked_on(cloud: FrontCloud, fifo: str) -> None:
    first = send(cloud, fifo, "d", "first")
    assert send(cloud, fifo, "d", "second")["MessageId"] == first["MessageId"]
    cloud.front.client("sqs").receive_message(QueueUrl=fifo)
    assert send(cloud, fifo, "d", "third")["MessageId"] == first["MessageId"]


def test_a_batch_answers_for_swallowed_messages_too(cloud: FrontCloud, fifo: str) -> None:
    entry = {"MessageBody": "x", "MessageGroupId": "g", "MessageDeduplicationId": "d"}
    entries = [{"Id": "a", **entry}, {"Id": "b", **entry}]
    answer = cloud.front.client("sqs").send_message_batch(QueueUrl=fifo, Entries=entries)
    assert len({a["MessageId"] for a in answer["Successful"]}) == 1
    assert {a["Id"] for a in answer["Successful"]} == {"a", "b"}
    assert received(cloud, fifo) == ["x"]


def test_queues_do_not_share_their_ids(cloud: FrontCloud, fifo: str) -> None:
    other = cloud.front.client("sqs").create_queue(QueueName="other.fifo", Attributes={"FifoQueue": "true"})
    send(cloud, fifo, "same")
    send(cloud, other["QueueUrl"], "same", "here too")
    assert received(cloud, other["QueueUrl"]) == ["here too"]


def test_content_based_deduplication_outlives_the_message_too(cloud: FrontCloud) -> None:
    attributes = {"FifoQueue": "true", "ContentBasedDeduplication": "true"}
    url = cloud.front.client("sqs").create_queue(QueueName="content.fifo", Attributes=attributes)["QueueUrl"]
    for _ in range(2):
        cloud.front.client("sqs").send_message(QueueUrl=url, MessageBody="same", MessageGroupId="g")
        received(cloud, url)
    cloud.front.client("sqs").send_message(QueueUrl=url, MessageBody="same", MessageGroupId="g")
    assert received(cloud, url) == []


class Message:
    """As much of moto's message as the rule looks at."""

    def __init__(self, dedup: str, sent_ms: float, receives: int = 0) -> None:
        self.id, self.deduplication_id, self.sequence_number = f"id-{sent_ms}", dedup, ""
        self.sent_timestamp, self.approximate_receive_count = sent_ms, receives


class Queue:
    """A queue is only a key here."""


def test_an_id_is_free_again_after_five_minutes() -> None:
    rule, queue = Deduplication(), Queue()
    assert rule.is_new(queue, Message("d", 0))
    assert not rule.is_new(queue, Message("d", 299_999))
    assert rule.is_new(queue, Message("d", 300_000))


def test_a_redriven_message_is_never_swallowed() -> None:
    """The dead-letter queue takes every message that comes to it."""
    rule, queue = Deduplication(), Queue()
    assert rule.is_new(queue, Message("d", 0))
    assert rule.is_new(queue, Message("d", 1, receives=3))


def test_sequence_numbers_of_a_queue_rise(cloud: FrontCloud, fifo: str) -> None:
    numbers = [int(send(cloud, fifo, str(i))["SequenceNumber"]) for i in range(3)]
    assert numbers == sorted(set(numbers))


def test_a_put_with_urllibs_default_content_type_keeps_its_body(cloud: FrontCloud) -> None:
    s3 = cloud.front.client("s3")
    s3.create_bucket(Bucket="forms")
    url = s3.generate_presigned_url("put_object", {"Bucket": "forms", "Key": "k"})
    with urllib.request.urlopen(urllib.request.Request(url, data=b"a=b", method="PUT")):
        pass
    assert s3.get_object(Bucket="forms", Key="k")["Body"].read() == b"a=b"


# --- faults ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def clean(cloud: FrontCloud) -> Iterator[FrontCloud]:
    yield cloud
    cloud.faults.clear()


def switch(cloud: FrontCloud, method: str, document: Any = None) -> tuple[int, Any]:
    body = None if document is None else json.dumps(document).encode()
    request = urllib.request.Request(f"{cloud.front.url}/_faults", data=body, method=method)
    try:
        with urllib.request.urlopen(request) as reply:
            return reply.status, json.loads(reply.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_the_switch_duplicates_as_many_messages_as_it_was_told(clean: FrontCloud, standard: str) -> None:
    status, answer = switch(clean, "POST", {"kind": "duplicate_messages", "count": 1})
    assert (status, answer["items"][0]["count"]) == (200, 1)
    sqs = clean.front.client("sqs")
    for body in ("a", "b"):
        sqs.send_message(QueueUrl=standard, MessageBody=body)
    assert sorted(received(clean, standard)) == ["a", "a", "b"]


def test_the_switch_delays_the_messages_of_one_queue(clean: FrontCloud, standard: str) -> None:
    name = standard.rpartition("/")[2]
    switch(clean, "POST", {"kind": "delay_messages", "queue": name, "seconds": 60})
    clean.front.client("sqs").send_message(QueueUrl=standard, MessageBody="late")
    assert received(clean, standard) == []
    queue = get_backend("sqs")["123456789012"]["us-east-1"].queues[name]
    assert [m.delayed for m in queue._messages] == [True]


def test_the_switch_throttles_one_operation_so_many_times(clean: FrontCloud) -> None:
    switch(clean, "POST", {"kind": "throttle", "service": "ec2", "action": "DescribeInstances", "count": 2})
    ec2 = clean.front.client("ec2")
    for _ in range(2):
        ec2.describe_vpcs()
        with pytest.raises(ClientError) as caught:
            ec2.describe_instances()
        assert caught.value.response["Error"]["Code"] == "RequestLimitExceeded"
    ec2.describe_instances()


def test_clearing_ends_every_fault(clean: FrontCloud) -> None:
    switch(clean, "POST", {"kind": "throttle", "service": "sqs"})
    assert switch(clean, "DELETE") == (200, {"items": []})
    clean.front.client("sqs").list_queues()


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ({"kind": "earthquake"}, "There is no fault of kind 'earthquake'"),
        ({}, "There is no fault of kind None"),
        ({"kind": "throttle"}, "A throttle needs service."),
        ({"kind": "throttle", "service": "ec2", "often": 1}, "A throttle has no field often"),
        ({"kind": "throttle", "service": "ec2", "count": 0}, "count must be a whole number above 0"),
        ({"kind": "interrupt", "instance_id": "i-1"}, "has nothing to act on"),
        ([1], "A fault is a JSON object."),
    ],
)
def test_a_wrong_fault_is_refused_with_a_sentence(clean: FrontCloud, fault: Any, says: str) -> None:
    status, answer = switch(clean, "POST", fault)
    assert status == 400
    assert says in answer["detail"]
    assert switch(clean, "GET")[1] == {"items": []}
