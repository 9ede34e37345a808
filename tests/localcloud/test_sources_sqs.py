"""SQS event source mappings invoke functions as Lambda's pollers do."""

import hashlib
import itertools
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto.backends import get_backend
from small_cloud import SmallCloud, eventually, in_parallel, recorded, small_cloud

from localcloud.sources import queues
from localcloud.sources.hooks import Hooks
from localcloud.sources.sqs import failed_items

SAMPLES = Path(__file__).parents[3] / "shared" / "data" / "events"
FAIL_FIRST = """
    import os
    marker = "{marker}"
    if not os.path.exists(marker):
        open(marker, "w").close()
        raise RuntimeError("the first time")
    """


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[SmallCloud]:
    with small_cloud(tmp_path) as cloud:
        yield cloud


def make_queue(cloud: SmallCloud, name: str = "work", **attributes: Any) -> tuple[str, str]:
    """A queue's URL and ARN."""
    sqs = cloud.front.client("sqs")
    url = sqs.create_queue(QueueName=name, Attributes={k: str(v) for k, v in attributes.items()})["QueueUrl"]
    return url, sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


def connect(cloud: SmallCloud, arn: str, function: str, **options: Any) -> str:
    """The mapping's UUID."""
    client = cloud.front.client("lambda")
    return str(client.create_event_source_mapping(EventSourceArn=arn, FunctionName=function, **options)["UUID"])


def counts(cloud: SmallCloud, url: str) -> tuple[int, int]:
    """Visible and invisible messages."""
    found = cloud.front.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return int(found["ApproximateNumberOfMessages"]), int(found["ApproximateNumberOfMessagesNotVisible"])


def records(path: Path) -> list[dict[str, Any]]:
    return [record for event in recorded(path) for record in event["event"]["Records"]]


def test_a_record_has_awss_shape(cloud: SmallCloud) -> None:
    """Every field that AWS sends, and the message is deleted when the function returned."""
    path = cloud.deploy_recorder("reader")
    url, arn = make_queue(cloud)
    connect(cloud, arn, "reader")
    attributes = {
        "n": {"DataType": "Number", "StringValue": "7"},
        "b": {"DataType": "Binary", "BinaryValue": b"\x00\x01"},
    }
    sent = cloud.front.client("sqs").send_message(QueueUrl=url, MessageBody="hello", MessageAttributes=attributes)
    [record] = eventually(lambda: records(path))
    assert record["messageId"] == sent["MessageId"]
    assert record["receiptHandle"]
    assert record["body"] == "hello"
    assert record["md5OfBody"] == hashlib.md5(b"hello").hexdigest()
    assert record["md5OfMessageAttributes"] == sent["MD5OfMessageAttributes"]
    assert (record["eventSource"], record["eventSourceARN"], record["awsRegion"]) == ("aws:sqs", arn, "us-east-1")
    assert record["attributes"]["ApproximateReceiveCount"] == "1"
    assert {"SenderId", "SentTimestamp", "ApproximateFirstReceiveTimestamp"} <= record["attributes"].keys()
    assert all(isinstance(value, str) for value in record["attributes"].values())
    assert record["messageAttributes"]["n"]["stringValue"] == "7"
    assert record["messageAttributes"]["b"]["binaryValue"] == "AAE="
    assert record["messageAttributes"]["b"]["dataType"] == "Binary"
    eventually(lambda: counts(cloud, url) == (0, 0))


@pytest.mark.parametrize("sample", ["lambda-go_sqs-event.json", "powertools_sqsEvent.json"])
def test_a_record_has_the_fields_of_recorded_events(cloud: SmallCloud, sample: str) -> None:
    """Our record holds every field that a published sample of AWS's event holds, with the same types."""
    if not SAMPLES.is_dir():
        pytest.skip("event samples are not there (../shared/data/events)")
    theirs = json.loads((SAMPLES / sample).read_text())["Records"][0]
    path = cloud.deploy_recorder("reader")
    url, arn = make_queue(cloud)
    connect(cloud, arn, "reader")
    attributes = {"n": {"DataType": "Number", "StringValue": "7"}}
    cloud.front.client("sqs").send_message(QueueUrl=url, MessageBody="x", MessageAttributes=attributes)
    [ours] = eventually(lambda: records(path))
    assert theirs.keys() <= ours.keys()
    assert theirs["attributes"].keys() <= ours["attributes"].keys()
    assert {k: type(v) for k, v in theirs.items()} == {k: type(ours[k]) for k in theirs}


def test_a_message_reaches_a_warm_handler_within_milliseconds(cloud: SmallCloud) -> None:
    """No polling interval lies between SendMessage and the handler."""
    path = cloud.deploy_recorder("reader")
    url, arn = make_queue(cloud)
    connect(cloud, arn, "reader", BatchSize=1)
    sqs = cloud.front.client("sqs")
    sqs.send_message(QueueUrl=url, MessageBody="warm up")
    eventually(lambda: recorded(path))
    lags = []
    for number in range(20):
        began = time.time()
        sqs.send_message(QueueUrl=url, MessageBody=str(number))
        eventually(lambda: len(recorded(path)) == len(lags) + 2)
        lags.append(recorded(path)[-1]["at"] - began)
    assert min(lags) < 0.015, lags  # a busy machine slows many of them, but not all
    assert sorted(lags)[10] < 0.1, lags


def records_body(entry: dict[str, Any]) -> str:
    return str(entry["event"]["Records"][0]["body"])


def test_batches_hold_up_to_batch_size_messages(cloud: SmallCloud) -> None:
    """With a window, messages are gathered; no batch is larger than its size; each message comes once."""
    path = cloud.deploy_recorder("reader")
    url, arn = make_queue(cloud)
    connect(cloud, arn, "reader", BatchSize=4, MaximumBatchingWindowInSeconds=1)
    entries = [{"Id": str(i), "MessageBody": str(i)} for i in range(10)]
    cloud.front.client("sqs").send_message_batch(QueueUrl=url, Entries=entries)
    eventually(lambda: len(records(path)) == 10)
    assert sorted(record["body"] for record in records(path)) == sorted(str(i) for i in range(10))
    assert sorted(len(entry["event"]["Records"]) for entry in recorded(path)) == [2, 4, 4]


def test_a_failed_batch_comes_back_after_its_visibility_timeout(cloud: SmallCloud, tmp_path: Path) -> None:
    """Not before; and the second time its receive count says so."""
    path = cloud.deploy_recorder("reader", FAIL_FIRST.format(marker=tmp_path / "marker"))
    url, arn = make_queue(cloud, VisibilityTimeout=1)
    connect(cloud, arn, "reader")
    began = time.time()
    cloud.front.client("sqs").send_message(QueueUrl=url, MessageBody="again")
    first, second = eventually(lambda: len(recorded(path)) >= 2 and recorded(path))
    assert 1.0 <= second["at"] - began < 10
    counted = [entry["event"]["Records"][0]["attributes"]["ApproximateReceiveCount"] for entry in (first, second)]
    assert counted == ["1", "2"]
    eventually(lambda: counts(cloud, url) == (0, 0))


def test_a_message_that_always_fails_moves_to_the_dead_letter_queue(cloud: SmallCloud) -> None:
    """After maxReceiveCount receives, with its attributes; its neighbours on other batches are processed."""
    path = cloud.deploy_recorder("reader", 'if "bad" in event["Records"][0]["body"]: raise ValueError("bad")')
    dead_url, dead_arn = make_queue(cloud, "dead")
    redrive = json.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": 2})
    url, arn = make_queue(cloud, VisibilityTimeout=1, RedrivePolicy=redrive)
    connect(cloud, arn, "reader", BatchSize=1)
    sqs = cloud.front.client("sqs")
    attributes = {"why": {"DataType": "String", "StringValue": "test"}}
    sqs.send_message(QueueUrl=url, MessageBody="bad", MessageAttributes=attributes)
    sqs.send_message(QueueUrl=url, MessageBody="good")
    eventually(lambda: counts(cloud, dead_url)[0] == 1)
    [dead] = sqs.receive_message(QueueUrl=dead_url, MessageAttributeNames=["All"])["Messages"]
    assert dead["Body"] == "bad"
    assert dead["MessageAttributes"]["why"]["StringValue"] == "test"
    bodies = [record["body"] for record in records(path)]
    assert (bodies.count("bad"), bodies.count("good")) == (2, 1)
    assert counts(cloud, url) == (0, 0)


def test_fifo_groups_keep_their_order_and_one_batch_in_flight(cloud: SmallCloud) -> None:
    """Within a group one after the other, in order; different groups at the same time."""
    path = cloud.deploy_recorder("reader", "time.sleep(0.1)")
    url, arn = make_queue(cloud, "work.fifo", FifoQueue="true", ContentBasedDeduplication="true")
    connect(cloud, arn, "reader", BatchSize=1)
    sqs = cloud.front.client("sqs")
    for number in range(4):
        for group in "ab":
            sqs.send_message(QueueUrl=url, MessageBody=f"{group}{number}", MessageGroupId=group)
    eventually(lambda: len(records(path)) == 8)
    for group in "ab":
        entries = [entry for entry in recorded(path) if records_body(entry).startswith(group)]
        assert [records_body(entry) for entry in entries] == [f"{group}{number}" for number in range(4)]
        gaps = [later["at"] - sooner["at"] for sooner, later in itertools.pairwise(entries)]
        assert min(gaps) > 0.09
    starts = {group: [e["at"] for e in recorded(path) if records_body(e).startswith(group)] for group in "ab"}
    assert starts["b"][0] < starts["a"][-1]
    attributes = records(path)[0]["attributes"]
    assert attributes["MessageGroupId"] in "ab"
    assert attributes["MessageDeduplicationId"]


def test_a_failed_fifo_message_blocks_its_group_only(cloud: SmallCloud, tmp_path: Path) -> None:
    """The group waits until its first message is visible again and keeps its order; the other group goes on."""
    body = 'if event["Records"][0]["body"] == "a0":' + FAIL_FIRST.format(marker=tmp_path / "marker").replace(
        "\n    ", "\n        "
    )
    path = cloud.deploy_recorder("reader", body)
    cloud.invoke("reader", {"Records": [{"body": "warm up"}]})
    url, arn = make_queue(cloud, "work.fifo", FifoQueue="true", ContentBasedDeduplication="true", VisibilityTimeout=1)
    connect(cloud, arn, "reader", BatchSize=1)
    sqs = cloud.front.client("sqs")
    for text in ("a0", "a1", "b0"):
        sqs.send_message(QueueUrl=url, MessageBody=text, MessageGroupId=text[0])
    eventually(lambda: len(records(path)) == 5)
    assert [record["body"] for record in records(path)][1:] == ["a0", "b0", "a0", "a1"]


def test_maximum_concurrency_is_respected(cloud: SmallCloud) -> None:
    """With two, no more than two batches are in flight although the function could take four."""
    path = cloud.deploy_recorder(
        "reader", f'with open("{cloud.folder}/ends", "a") as f: time.sleep(0.1); f.write(f"{{time.time()}}\\n")'
    )
    url, arn = make_queue(cloud)
    connect(cloud, arn, "reader", BatchSize=1, ScalingConfig={"MaximumConcurrency": 2})
    sqs = cloud.front.client("sqs")
    sqs.send_message_batch(QueueUrl=url, Entries=[{"Id": str(i), "MessageBody": str(i)} for i in range(8)])
    ends_file = cloud.folder / "ends"
    eventually(lambda: ends_file.exists() and len(ends_file.read_text().split()) == 8)
    starts = [(entry["at"], 1) for entry in recorded(path)]
    ends = [(float(line), -1) for line in ends_file.read_text().split()]
    running = most = 0
    for _, change in sorted(starts + ends):
        running += change
        most = max(most, running)
    assert most <= 2


def test_a_disabled_mapping_rests_until_it_is_enabled(cloud: SmallCloud) -> None:
    """Nothing is invoked while it is disabled; everything that waited is when it is enabled."""
    path = cloud.deploy_recorder("reader")
    url, arn = make_queue(cloud)
    uuid = connect(cloud, arn, "reader", Enabled=False)
    cloud.front.client("sqs").send_message(QueueUrl=url, MessageBody="later")
    time.sleep(0.7)  # longer than a scan of the mappings: nothing must happen, and nothing says so
    assert not recorded(path)
    assert counts(cloud, url) == (1, 0)
    cloud.front.client("lambda").update_event_source_mapping(UUID=uuid, Enabled=True)
    eventually(lambda: records(path))


def test_a_deleted_mapping_takes_nothing(cloud: SmallCloud) -> None:
    """After DeleteEventSourceMapping messages stay in the queue."""
    path = cloud.deploy_recorder("reader")
    url, arn = make_queue(cloud)
    uuid = connect(cloud, arn, "reader")
    cloud.front.client("sqs").send_message(QueueUrl=url, MessageBody="first")
    eventually(lambda: records(path))
    cloud.front.client("lambda").delete_event_source_mapping(UUID=uuid)
    eventually(lambda: not cloud.sqs.stats())
    cloud.front.client("sqs").send_message(QueueUrl=url, MessageBody="second")
    assert counts(cloud, url) == (1, 0)


def test_a_delayed_message_comes_when_its_delay_is_over(cloud: SmallCloud) -> None:
    """Not sooner, and without a poll's delay."""
    path = cloud.deploy_recorder("reader")
    url, arn = make_queue(cloud)
    connect(cloud, arn, "reader")
    sqs = cloud.front.client("sqs")
    sqs.send_message(QueueUrl=url, MessageBody="warm up")
    eventually(lambda: records(path))
    began = time.time()
    sqs.send_message(QueueUrl=url, MessageBody="late", DelaySeconds=1)
    eventually(lambda: len(records(path)) == 2)
    assert 0.99 <= recorded(path)[1]["at"] - began < 3


def test_partial_batch_responses_delete_only_what_was_processed(cloud: SmallCloud) -> None:
    """ReportBatchItemFailures: the named messages come back, the others are gone."""
    code = 'return {"batchItemFailures": [{"itemIdentifier": r["messageId"]} for r in event["Records"] if r["body"] == "bad"]}'
    path = cloud.deploy_recorder("reader", code)
    url, arn = make_queue(cloud)
    connect(
        cloud,
        arn,
        "reader",
        BatchSize=2,
        MaximumBatchingWindowInSeconds=1,
        FunctionResponseTypes=["ReportBatchItemFailures"],
    )
    entries = [{"Id": str(i), "MessageBody": text} for i, text in enumerate(("bad", "good"))]
    cloud.front.client("sqs").send_message_batch(QueueUrl=url, Entries=entries)
    eventually(lambda: len(records(path)) == 2)
    eventually(lambda: counts(cloud, url) == (0, 1))


def test_a_message_from_a_topic_is_seen_at_once(cloud: SmallCloud) -> None:
    """SNS sends to the queue inside of moto, past the front; the mapping reacts all the same."""
    path = cloud.deploy_recorder("reader")
    _, arn = make_queue(cloud)
    connect(cloud, arn, "reader")
    sns = cloud.front.client("sns")
    topic = sns.create_topic(Name="news")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes={"RawMessageDelivery": "true"})
    sns.publish(TopicArn=topic, Message="extra")
    assert eventually(lambda: records(path))[0]["body"] == "extra"


def test_many_senders_lose_nothing(cloud: SmallCloud) -> None:
    """Messages sent while others are deleted arrive, each once: moto alone would lose some."""
    path = cloud.deploy_recorder("reader")
    url, arn = make_queue(cloud)
    connect(cloud, arn, "reader", BatchSize=3)
    sqs = cloud.front.client("sqs")

    def send(thread: int) -> None:
        for number in range(15):
            sqs.send_message(QueueUrl=url, MessageBody=f"{thread}-{number}")

    in_parallel(4, send)
    eventually(lambda: len(records(path)) >= 60, 20)
    assert sorted(r["body"] for r in records(path)) == sorted(f"{t}-{n}" for t in range(4) for n in range(15))
    eventually(lambda: counts(cloud, url) == (0, 0))


@given(st.one_of(st.binary(max_size=30), st.from_type(type(None)).map(lambda _: b"null")))
def test_a_malformed_partial_response_gives_everything_back_or_nothing(payload: bytes) -> None:
    """Whatever a function answers, the failed messages are a subset of the batch."""
    assert failed_items(payload, {"a", "b"}) in (set(), {"a", "b"})


def test_an_unknown_item_in_a_partial_response_gives_everything_back() -> None:
    """Lambda treats a response that names a message it did not send as a failed batch."""
    answer = json.dumps({"batchItemFailures": [{"itemIdentifier": "z"}]}).encode()
    assert failed_items(answer, {"a", "b"}) == {"a", "b"}


@pytest.mark.parametrize("action", ["send", "receive", "delete", "purge", "hide"])
def test_operations_on_a_queue_wait_for_each_other(action: str) -> None:
    """moto rebuilds the list of messages on each delete: what is sent in that moment would vanish. So each operation holds the queue."""
    hooks = Hooks()
    told: list[str] = []
    queues.install(hooks, told.append)
    backend = get_backend("sqs")["123456789012"]["us-east-1"]
    try:
        queue = backend.create_queue("shared", None)
        backend.send_message("shared", "x")
        [message] = backend.receive_message("shared", 1, 0, 30)
        actions = {
            "send": lambda: backend.send_message("shared", "y"),
            "receive": lambda: backend.receive_message("shared", 1, 0, 30),
            "delete": lambda: backend.delete_message("shared", message.receipt_handle),
            "purge": lambda: backend.purge_queue("shared"),
            "hide": lambda: backend.change_message_visibility("shared", message.receipt_handle, 0),
        }
        thread = threading.Thread(target=actions[action])
        with queue._messages_lock:
            thread.start()
            thread.join(0.2)  # nothing tells that a thread still waits
            assert thread.is_alive()
        thread.join(5)
        assert not thread.is_alive()
        assert queue.queue_arn in told
    finally:
        hooks.restore()
        backend.reset()
