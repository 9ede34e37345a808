"""EventBridge rules, schedules and SNS subscriptions invoke functions."""

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_cloud import SmallCloud, eventually, recorded, small_cloud

from localcloud.sources.cron import BadSchedule, Cron, Rate, parse

SAMPLES = Path(__file__).parents[3] / "shared" / "data" / "events"
STATE_CHANGE = {
    "source": "aws.ec2",
    "detail-type": "EC2 Instance State-change Notification",
    "resources": ["arn:aws:ec2:us-east-1:123456789012:instance/i-1"],
    "detail": {"instance-id": "i-1", "state": "running"},
}


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[SmallCloud]:
    with small_cloud(tmp_path) as cloud:
        yield cloud


def rule(cloud: SmallCloud, name: str, function: str, region: str = "us-east-1", **options: Any) -> None:
    events = cloud.front.client("events", region)
    events.put_rule(Name=name, **options)
    arn = f"arn:aws:lambda:us-east-1:123456789012:function:{function}"
    events.put_targets(Rule=name, Targets=[{"Id": "1", "Arn": arn}])


def test_a_published_event_reaches_the_functions_whose_rules_match(cloud: SmallCloud) -> None:
    """Only the matching rule's function is invoked, with the whole event in EventBridge's shape."""
    wanted, other = cloud.deploy_recorder("wanted"), cloud.deploy_recorder("other")
    pattern = {"source": ["aws.ec2"], "detail": {"state": ["running", {"prefix": "shut"}]}}
    rule(cloud, "wanted", "wanted", EventPattern=json.dumps(pattern))
    rule(
        cloud, "other", "other", EventPattern=json.dumps(pattern | {"detail": {"state": [{"anything-but": "running"}]}})
    )
    cloud.bus.publish(STATE_CHANGE, "us-east-1")
    [entry] = eventually(lambda: recorded(wanted))
    assert entry["event"].keys() == {
        *("version", "id", "detail-type", "source", "account", "time", "region", "resources", "detail")
    }
    assert entry["event"]["detail"] == STATE_CHANGE["detail"]
    dt.datetime.strptime(entry["event"]["time"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=dt.UTC)
    assert not recorded(other)


def test_an_event_has_the_fields_of_a_recorded_one(cloud: SmallCloud) -> None:
    """The published sample of an instance's state change holds the fields that ours holds."""
    sample = SAMPLES / "awsdocs" / "monitoring-instance-state-changes_01.json"
    if not sample.exists():
        pytest.skip("event samples are not there (../shared/data/events)")
    theirs = json.loads(sample.read_text())
    path = cloud.deploy_recorder("reader")
    rule(cloud, "any", "reader", EventPattern='{"source": ["aws.ec2"]}')
    cloud.bus.publish(STATE_CHANGE, "us-east-1")
    [entry] = eventually(lambda: recorded(path))
    assert theirs.keys() <= entry["event"].keys()


@pytest.mark.parametrize(
    ("filter_", "matches"),
    [
        ([{"exists": True}], True),
        ([{"exists": False}], False),
        ([{"numeric": [">", 3, "<=", 5]}], True),
        ([{"numeric": [">", 5]}], False),
        ([5], True),
    ],
)
def test_patterns_know_exists_and_numeric(cloud: SmallCloud, filter_: list[Any], matches: bool) -> None:
    """The kinds of filter that EventBridge offers decide as it does."""
    path, fence = cloud.deploy_recorder("reader"), cloud.deploy_recorder("fence")
    rule(cloud, "r", "reader", EventPattern=json.dumps({"detail": {"count": filter_}}))
    rule(cloud, "s", "fence", EventPattern='{"source": ["me"]}')
    cloud.bus.publish({"source": "me", "detail-type": "x", "detail": {"count": 5}}, "us-east-1")
    eventually(lambda: recorded(fence))
    if matches:
        eventually(lambda: recorded(path))
    else:
        assert not recorded(path)


def test_put_events_invokes_functions(cloud: SmallCloud) -> None:
    """PutEvents succeeds (moto alone fails on a Lambda target) and the function sees the event."""
    path = cloud.deploy_recorder("reader")
    rule(cloud, "mine", "reader", EventPattern='{"source": ["me"]}')
    entry = {"Source": "me", "DetailType": "Test", "Detail": '{"a": 1}'}
    answer = cloud.front.client("events").put_events(Entries=[entry])
    assert answer["FailedEntryCount"] == 0
    [seen] = eventually(lambda: recorded(path))
    assert (seen["event"]["detail-type"], seen["event"]["detail"]) == ("Test", {"a": 1})


def test_a_disabled_rule_sends_nothing(cloud: SmallCloud) -> None:
    """Only the enabled one of two rules invokes its function."""
    off, on = cloud.deploy_recorder("off"), cloud.deploy_recorder("on")
    rule(cloud, "off", "off", EventPattern='{"source": ["me"]}', State="DISABLED")
    rule(cloud, "on", "on", EventPattern='{"source": ["me"]}')
    cloud.bus.publish({"source": "me", "detail-type": "x", "detail": {}}, "us-east-1")
    eventually(lambda: recorded(on))
    assert not recorded(off)


def test_a_regions_rule_forwards_to_the_home_bus(cloud: SmallCloud) -> None:
    """An event of another region travels over the bus target and keeps saying where it came from."""
    path = cloud.deploy_recorder("reader")
    rule(cloud, "home", "reader", EventPattern='{"source": ["aws.ec2"]}')
    away = cloud.front.client("events", "eu-west-1")
    away.put_rule(Name="forward", EventPattern='{"source": ["aws.ec2"]}')
    bus = "arn:aws:events:us-east-1:123456789012:event-bus/default"
    away.put_targets(Rule="forward", Targets=[{"Id": "1", "Arn": bus}])
    cloud.bus.publish(STATE_CHANGE, "eu-west-1")
    [entry] = eventually(lambda: recorded(path))
    assert entry["event"]["region"] == "eu-west-1"


def test_a_rate_fires_again_and_again(cloud: SmallCloud) -> None:
    """`rate(1 minute)`, with time sixty times faster: about one event a second, in the shape of a scheduled event."""
    path = cloud.deploy_recorder("ticker")
    cloud.invoke("ticker")  # so that the first tick need not wait for a cold start
    rule(cloud, "tick", "ticker", ScheduleExpression="rate(1 minute)")
    eventually(lambda: len(recorded(path)) >= 4)
    first, second, third = recorded(path)[1:4]
    assert 0.5 < (third["at"] - first["at"]) / 2 < 2
    assert first["event"]["detail-type"] == "Scheduled Event"
    assert first["event"]["source"] == "aws.events"
    assert first["event"]["resources"] == ["arn:aws:events:us-east-1:123456789012:rule/tick"]
    assert first["event"]["id"] != second["event"]["id"]


def test_a_removed_schedule_stops(cloud: SmallCloud) -> None:
    """After DeleteRule nothing fires any more."""
    path = cloud.deploy_recorder("ticker")
    rule(cloud, "tick", "ticker", ScheduleExpression="rate(1 minute)")
    eventually(lambda: recorded(path))
    events = cloud.front.client("events")
    events.remove_targets(Rule="tick", Ids=["1"])
    events.delete_rule(Name="tick")
    eventually(lambda: not cloud.schedules._due)
    fired = cloud.schedules.fired
    rule(cloud, "fence", "ticker", ScheduleExpression="rate(1 minute)")
    eventually(lambda: cloud.schedules.fired == fired + 1)


def test_a_topic_invokes_its_functions_with_sns_records(cloud: SmallCloud) -> None:
    """A Lambda subscription gets the message, its id, subject and attributes, in SNS's shape."""
    path = cloud.deploy_recorder("reader")
    sns = cloud.front.client("sns")
    topic = sns.create_topic(Name="news")["TopicArn"]
    function = "arn:aws:lambda:us-east-1:123456789012:function:reader"
    subscription = sns.subscribe(TopicArn=topic, Protocol="lambda", Endpoint=function)["SubscriptionArn"]
    attributes = {"severity": {"DataType": "String", "StringValue": "error"}}
    sent = sns.publish(TopicArn=topic, Message="fire", Subject="hot", MessageAttributes=attributes)
    [entry] = eventually(lambda: recorded(path))
    [record] = entry["event"]["Records"]
    assert (record["EventSource"], record["EventSubscriptionArn"]) == ("aws:sns", subscription)
    assert record["Sns"]["MessageId"] == sent["MessageId"]
    assert (record["Sns"]["Message"], record["Sns"]["Subject"], record["Sns"]["TopicArn"]) == ("fire", "hot", topic)
    assert record["Sns"]["MessageAttributes"] == {"severity": {"Type": "String", "Value": "error"}}
    sample = SAMPLES / "powertools_snsEvent.json"
    if sample.exists():
        theirs = json.loads(sample.read_text())["Records"][0]
        assert theirs.keys() <= record.keys()
        assert theirs["Sns"].keys() <= record["Sns"].keys()


def test_a_filter_policy_keeps_messages_away(cloud: SmallCloud) -> None:
    """Only the message whose attribute the policy names reaches the function."""
    path = cloud.deploy_recorder("reader")
    sns = cloud.front.client("sns")
    topic = sns.create_topic(Name="news")["TopicArn"]
    function = "arn:aws:lambda:us-east-1:123456789012:function:reader"
    policy = {"FilterPolicy": json.dumps({"severity": ["error"]})}
    sns.subscribe(TopicArn=topic, Protocol="lambda", Endpoint=function, Attributes=policy)
    for severity in ("info", "error"):
        attributes = {"severity": {"DataType": "String", "StringValue": severity}}
        sns.publish(TopicArn=topic, Message=severity, MessageAttributes=attributes)
    [entry] = eventually(lambda: recorded(path))
    assert entry["event"]["Records"][0]["Sns"]["Message"] == "error"


NOW = dt.datetime(2026, 11, 21, 8, 30, 15, tzinfo=dt.UTC)  # a Saturday


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("cron(0 12 * * ? *)", "2026-11-21T12:00"),
        ("cron(0/15 * * * ? *)", "2026-11-21T08:45"),
        ("cron(30 8 * * ? *)", "2026-11-22T08:30"),
        ("cron(0 9 ? * MON-FRI *)", "2026-11-23T09:00"),
        ("cron(0 9 ? * 1 *)", "2026-11-22T09:00"),
        ("cron(0 0 29 FEB ? *)", "2028-02-29T00:00"),
        ("cron(5,10 0-1 1 JAN,JUL ? 2027-2028)", "2027-01-01T00:05"),
    ],
)
def test_cron_finds_the_next_moment(expression: str, expected: str) -> None:
    """Names, lists, ranges, steps and leap days, in UTC."""
    schedule = parse(expression)
    assert isinstance(schedule, Cron)
    found = schedule.next_after(NOW)
    assert found is not None
    assert found.strftime("%Y-%m-%dT%H:%M") == expected


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("cron(0 12 L * ? *)", "L, W and # are not supported"),
        ("cron(0 12 ? * 2#1 *)", "L, W and # are not supported"),
        ("cron(0 12 * * * *)", "exactly one of day of month and day of week"),
        ("cron(0 25 * * ? *)", "hours"),
        ("cron(* * * *)", "six fields"),
        ("rate(1 minutes)", "rate(1 minute)"),
        ("rate(0 minutes)", "at least 1"),
        ("every day", "neither"),
    ],
)
def test_a_bad_schedule_is_refused_with_the_part_that_is_wrong(expression: str, says: str) -> None:
    """The error names what is not supported or out of range."""
    with pytest.raises(BadSchedule, match=says.replace("(", r"\(").replace(")", r"\)")):
        parse(expression)


@given(
    st.sampled_from(["*", "0/7", "3,50", "10-20"]),
    st.sampled_from(["*", "4", "0-23/6"]),
    st.integers(min_value=1_704_067_200, max_value=1_893_456_000),
)
def test_the_next_moment_of_a_cron_is_the_first_that_matches(minutes: str, hours: str, epoch: int) -> None:
    """It is after now, it matches, and no minute between now and then does (checked one by one)."""
    schedule = parse(f"cron({minutes} {hours} * * ? *)")
    assert isinstance(schedule, Cron)
    now = dt.datetime.fromtimestamp(epoch, dt.UTC)
    found = schedule.next_after(now)
    assert found is not None
    minute = now.replace(second=0, microsecond=0) + dt.timedelta(minutes=1)
    while minute.minute not in schedule.minutes or minute.hour not in schedule.hours:
        minute += dt.timedelta(minutes=1)
    assert found == minute


def test_rates_are_read_in_all_units() -> None:
    """Minutes, hours and days, in seconds."""
    assert [parse(f"rate({text})") for text in ("1 minute", "5 minutes", "1 hour", "2 days")] == [
        Rate(60),
        Rate(300),
        Rate(3600),
        Rate(172800),
    ]
