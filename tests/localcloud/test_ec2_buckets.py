"""EC2's throttling, through real clients that do not try again."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st
from machine_cloud import IMAGE, MachineCloud, machine_cloud

from localcloud.ec2_buckets import Bucket

SMALL: dict[str, Any] = {"ImageId": IMAGE, "InstanceType": "c5.large"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MachineCloud]:
    with machine_cloud(tmp_path_factory.mktemp("buckets"), isolation="none", boot_s=0.0) as started:
        yield started


@pytest.fixture
def cloud(whole: MachineCloud) -> Iterator[MachineCloud]:
    whole.faults.set({"kind": "no_boot"})
    yield whole
    whole.faults.clear()


def launch(cloud: MachineCloud, count: int = 1, **more: Any) -> list[str]:
    """The ids, or a ClientError; the client does not try again."""
    made = cloud.ec2.run_instances(**SMALL, MinCount=1, MaxCount=count, **more)
    return [instance["InstanceId"] for instance in made["Instances"]]


def throttled(call: Any) -> str:
    with pytest.raises(ClientError) as error:
        call()
    assert error.value.response["Error"]["Code"] == "RequestLimitExceeded"
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
    return str(error.value.response["Error"]["Message"])


def test_five_launches_at_once_and_then_two_a_second(cloud: MachineCloud) -> None:
    """RunInstances: 5 requests burst; the sixth is refused and launches nothing, and tokens come back with time."""
    cloud.faults.set({"kind": "ec2_buckets", "speed": 0.001})  # nothing comes back during the test
    before = len(cloud.fleet.alive())
    for _ in range(5):
        launch(cloud)
    text = throttled(lambda: launch(cloud))
    assert "throttled on ec2:RunInstances because it exceeded its request rate limit" in text
    assert len(cloud.fleet.alive()) == before + 5
    cloud.faults.set({"kind": "ec2_buckets", "speed": 1000})
    for _ in range(12):
        launch(cloud)


def test_a_thousand_instances_at_once_and_then_two_a_second(cloud: MachineCloud) -> None:
    """The second bucket counts instances, as asked for by MaxCount."""
    cloud.faults.set({"kind": "ec2_buckets", "speed": 0.001})
    cloud.faults.set({"kind": "refuse_capacity"})
    for _ in range(2):
        with pytest.raises(ClientError) as error:
            launch(cloud, 450)
        assert error.value.response["Error"]["Code"] == "InsufficientInstanceCapacity"
    assert "exceeded its resource rate limit" in throttled(lambda: launch(cloud, 101))


def test_buckets_are_of_a_region_and_an_operation(cloud: MachineCloud) -> None:
    """A region that is throttled says nothing of another, nor a launch of a termination."""
    cloud.faults.set({"kind": "ec2_buckets", "speed": 0.001})
    ids = [each for _ in range(5) for each in launch(cloud)]
    throttled(lambda: launch(cloud))
    cloud.front.client("ec2", "us-west-2").run_instances(**SMALL, MinCount=1, MaxCount=1)
    for each in ids:
        cloud.ec2.terminate_instances(InstanceIds=[each])
        cloud.ec2.describe_instances(InstanceIds=[each])


def test_a_list_of_all_has_a_smaller_bucket_than_a_filtered_one(cloud: MachineCloud) -> None:
    """50 against 100 lists of instances; a filter that finds nothing costs as much as any."""
    cloud.faults.set({"kind": "ec2_buckets", "speed": 0.001})
    nothing = [{"Name": "tag:nobody", "Values": ["has"]}]
    for _ in range(100):
        cloud.ec2.describe_instances(Filters=nothing)
    throttled(lambda: cloud.ec2.describe_instances(Filters=nothing))
    for _ in range(50):
        cloud.ec2.describe_volumes()
    throttled(lambda: cloud.ec2.describe_volumes())
    cloud.ec2.describe_volumes(Filters=nothing)


def test_the_switch_shows_what_the_buckets_gave_and_refused(cloud: MachineCloud) -> None:
    """For who measures: tokens taken, calls refused and the lowest level of each bucket; DELETE ends the throttling."""
    route = f"{cloud.front.url}/_faults"
    assert httpx.post(route, json={"kind": "ec2_buckets", "speed": 0.001}).status_code == 200
    for _ in range(5):
        launch(cloud, 2)
    throttled(lambda: launch(cloud))
    (shown,) = [each for each in httpx.get(route).json()["items"] if each["kind"] == "ec2_buckets"]
    of = {(each["action"], each["of"]): each for each in shown["buckets"]}
    requests, instances = of["RunInstances", "request"], of["RunInstances", "resource"]
    assert (requests["taken"], requests["refused"], instances["taken"], instances["refused"]) == (5, 1, 10, 0)
    assert requests["least"] < 1
    left = httpx.delete(route, params={"kind": "ec2_buckets"}).json()["items"]
    assert [each["kind"] for each in left] == ["no_boot"], "one kind is cleared, the others stay"
    assert httpx.delete(route, params={"kind": "flood"}).status_code == 400
    for _ in range(7):
        launch(cloud)
    assert httpx.post(route, json={"kind": "ec2_buckets", "speed": 0}).status_code == 400
    assert httpx.delete(route).json() == {"items": []}


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(1, 4)), max_size=60))
def test_a_bucket_never_gives_more_than_its_burst_and_its_rate(asked: list[tuple[float, int]]) -> None:
    """In every window, what was given is at most the size and what came back meanwhile."""
    bucket, now, given_at = Bucket.full((5, 2), 0.0), 0.0, []
    for wait_s, number in asked:
        now += wait_s
        if bucket.take(number, now):
            given_at.append((now, number))
    for start, (begin, _) in enumerate(given_at):
        total = 0
        for at, number in given_at[start:]:
            total += number
            assert total <= 5 + 2 * (at - begin) + 1e-6
