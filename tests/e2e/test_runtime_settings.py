"""Settings of the deployed system: through API Gateway, under each function's own policy, kept in its tables, in force in the next pass."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from deployed_once import Deployed

from spillway.client import Client
from spillway.errors import NotAllowed, Refused

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

REGISTRY = "spillway-local-registry"


def until(look: Callable[[], Any], timeout_s: float = 30.0) -> Any:
    """The first true answer of `look`."""
    deadline = time.monotonic() + timeout_s
    while not (answer := look()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)
    return answer


@pytest.fixture
def submitter(deployed: Deployed) -> Iterator[Client]:
    """A client that may submit and nothing else."""
    token = "spw_" + secrets.token_urlsafe(32)
    row = {"kind": "token", "name": hashlib.sha256(token.encode()).hexdigest(), "role": "submitter", "owner": "alice"}
    item = {name: {"S": value} for name, value in row.items()} | {"created_at": {"N": "0"}}
    deployed.cloud.aws("dynamodb").put_item(TableName=REGISTRY, Item=item)
    with Client(deployed.deployment.api_url, token) as client:
        yield client


def story(deployed: Deployed, subject: str) -> list[str]:
    found = deployed.cloud.aws("dynamodb").query(
        TableName="spillway-local-jobs",
        KeyConditionExpression="id = :id AND begins_with(part, :story)",
        ExpressionAttributeValues={":id": {"S": subject}, ":story": {"S": "story#"}},
        ConsistentRead=True,
    )
    return [item["reason"]["S"] for item in found["Items"]]


def test_settings_are_changed_told_and_guarded_by_their_version(deployed: Deployed) -> None:
    api = deployed.client
    made = api.put_pool("tuned", {"hosts_max": 3, "policy": "headroom", "parameters": {"factor": 1.5}})
    changed = api.patch_pool("tuned", {"linger_s": 7, "policy": "square_root"}, version=made.version)
    assert changed.settings == {"hosts_max": 3, "policy": "square_root", "linger_s": 7}
    with pytest.raises(Refused, match="not at version") as caught:
        api.patch_pool("tuned", {"linger_s": 8}, version=made.version)
    assert caught.value.status == 412
    with pytest.raises(Refused) as caught:
        api.patch_pool("tuned", {"parameters": {"out_above_s": 5}})
    assert [f.field for f in caught.value.fields] == ["parameters.out_above_s"]
    with pytest.raises(Refused, match="no pool named none") as caught:
        api.patch_pool("none", {"linger_s": 8})
    assert caught.value.status == 404
    assert "linger_s: 60 (inherited) → 7 (by admin, version 2)" in story(deployed, "pool/tuned")
    headers = {"Authorization": f"Bearer {deployed.deployment.token}"}
    answer = httpx.get(deployed.deployment.api_url.rstrip("/") + "/pools/tuned", headers=headers)
    assert answer.headers["etag"] == f'"{changed.version}"'
    assert answer.json()["origins"]["linger_s"] == "own"


def test_the_stages_defaults_reach_pools_and_other_pools_keep_their_own(deployed: Deployed) -> None:
    api = deployed.client
    api.put_pool("plain", {})
    api.put_pool("own", {"slo_wait_s": 44})
    try:
        api.patch_settings({"slo_wait_s": 11})
        assert api.pool("plain").document["slo_wait_s"] == 11
        assert api.pool("plain").document["origins"]["slo_wait_s"] == "stage"
        assert api.pool("own").document["slo_wait_s"] == 44
    finally:
        api.patch_settings({"slo_wait_s": None})
    assert api.pool("plain").document["slo_wait_s"] == 30


def test_the_tick_re_makes_what_a_crash_left_and_counts_who_is_looking(deployed: Deployed, submitter: Client) -> None:
    """Under the tick's own policy. The defaults are written here as a crashed change would have left them."""
    api = deployed.client
    api.put_pool("left", {"hosts_max": 0})
    version = api.settings()["version"] + 1
    row: dict[str, Any] = {"kind": {"S": "defaults"}, "name": {"S": "pools"}, "settings": {"S": '{"slo_wait_s":13}'}}
    row |= {"version": {"N": str(version)}, "by": {"S": "root"}, "at": {"N": "1"}}
    deployed.cloud.aws("dynamodb").put_item(TableName=REGISTRY, Item=row)
    for viewer in ("one", "two", "one"):
        submitter.interest("left", viewer)
    event = {"version": "0", "id": "now", "detail-type": "Scheduled Event", "source": "aws.events", "account": "0"}
    event |= {"time": "2026-01-01T00:00:00Z", "region": "us-east-1", "resources": [], "detail": {}}
    try:
        deployed.cloud.aws("lambda").invoke(
            FunctionName="spillway-local-tick", InvocationType="Event", Payload=json.dumps(event).encode()
        )
        until(lambda: api.pool("left").document["slo_wait_s"] == 13)
        until(lambda: api.pool("left").document["interest"] == 2)
    finally:
        api.patch_settings({"slo_wait_s": None})


def test_capacity_is_booked(deployed: Deployed) -> None:
    api = deployed.client
    api.put_pool("booked", {"hosts_max": 0})
    now = time.time()
    made = api.book("booked", "exam", title="Exam", starts_at=now + 3600, ends_at=now + 7200, people=300)
    assert [b["id"] for b in api.bookings("booked")] == ["exam"]
    assert api.pool("booked").document["calendar"] == [made]
    assert api.unbook("booked", "exam") == []
    told = story(deployed, "pool/booked")
    assert told[-2].startswith("booked exam (Exam): 300 people")
    assert told[-1] == "took back the booking exam (by admin, version 3)"
    with pytest.raises(Refused, match="ends_at"):
        api.book("booked", "exam", title="Exam", starts_at=now, ends_at=now - 1, people=300)


def test_a_submitter_may_say_who_is_looking_and_change_nothing(deployed: Deployed, submitter: Client) -> None:
    deployed.client.put_pool("seen", {"hosts_max": 0})
    submitter.interest("seen", "student")
    assert "calendar" not in submitter.pool("seen").document
    for change in (
        lambda: submitter.put_pool("seen", {}),
        lambda: submitter.patch_pool("seen", {"hosts_max": 9}),
        lambda: submitter.patch_settings({"hosts_max": 9}),
        lambda: submitter.settings(),
        lambda: submitter.bookings("seen"),
        lambda: submitter.book("seen", "exam", title="t", starts_at=1, ends_at=2, people=1),
        lambda: submitter.unbook("seen", "exam"),
    ):
        with pytest.raises(NotAllowed):
            change()
    assert deployed.client.pool("seen").settings == {"hosts_max": 0}


def test_a_pools_own_launch_template_is_used_if_the_stage_may_use_it(deployed: Deployed) -> None:
    """Tagged with the stage, its machines boot and work; without the tag EC2 would refuse the function, so the pool is refused."""
    ec2, api = deployed.cloud.aws("ec2"), deployed.client
    (version,) = ec2.describe_launch_template_versions(LaunchTemplateName="spillway-local-host", Versions=["$Default"])[
        "LaunchTemplateVersions"
    ]
    data = {k: v for k, v in version["LaunchTemplateData"].items() if k != "IamInstanceProfile"}
    tags = [{"ResourceType": "launch-template", "Tags": [{"Key": "spillway:stage", "Value": "local"}]}]
    ec2.create_launch_template(LaunchTemplateName="graders", LaunchTemplateData=data, TagSpecifications=tags)
    ec2.create_launch_template(LaunchTemplateName="foreign", LaunchTemplateData=data)
    api.put_pool("templated", {"hosts_max": 1, "linger_s": 0, "launch_template": "graders:1"})
    job = api.submit("echo from my own template", pool="templated", timeout_s=30, memory_mib=128)
    (done,) = api.wait([job.id], timeout_s=60)
    assert done.succeeded, done.reason
    host = next(h for h in api.hosts("templated") if h.id == done.host)
    found = ec2.describe_instances(InstanceIds=[host.instance_id])["Reservations"][0]["Instances"][0]
    assert found["IamInstanceProfile"]["Arn"].endswith("spillway-local-host")
    with pytest.raises(Refused, match="foreign in us-east-1 does not carry the tag spillway:stage=local"):
        api.put_pool("untagged", {"hosts_max": 1, "launch_template": "foreign"})
