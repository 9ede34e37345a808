"""What every cloud promises, whether in memory or on AWS. One suite, so that a test of a pass on the memory cloud means something."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from dataclasses import replace

import pytest
from worlds import MOTO_IMAGE, NOW, REGION, AwsWorld, World, a_client, a_launch, aws_world

from chalicelib.core.host import Offering
from chalicelib.errors import LaunchImpossible

OTHER_IMAGE = "ami-03cf127a"  # another one that moto has

# ---- compute


def test_a_launch_gives_a_machine_that_carries_its_tags(world: World):
    """A pass finds its machines by tag only, so the tags go along in the same call."""
    launch = a_launch(world.stage)
    (made,) = world.cloud.compute.launch(launch)
    assert made.region == REGION
    assert made.launch_index == 0
    assert made.state in ("pending", "running")
    tags = {
        "spillway:stage": world.stage,
        "spillway:pool": "default",
        "spillway:host": launch.id,
        "spillway:launch": launch.id,
        "Name": f"spillway-{world.stage}/default",
    }
    assert dict(made.tags) == tags
    (listed,) = world.cloud.compute.instances("default", [REGION])
    assert (listed.id, dict(listed.tags)) == (made.id, tags)
    assert listed.launched_at == made.launched_at
    assert listed.instance_type == made.instance_type == launch.offering.instance_type


def test_many_hosts_are_one_request_and_come_in_order_of_their_index(honest: World):
    """100 jobs on 100 new machines is one call."""
    made = honest.cloud.compute.launch(a_launch(honest.stage, hosts=7))
    assert [i.launch_index for i in made] == list(range(7))
    assert len({i.id for i in made}) == 7
    assert honest.count("ec2.RunInstances") == 1


def test_the_same_launch_again_gives_the_same_machines(honest: World):
    """A pass that crashed after RunInstances sends the launch again and must not pay twice."""
    launch = a_launch(honest.stage, hosts=2)
    first = honest.cloud.compute.launch(launch)
    again = honest.cloud.compute.launch(launch)
    assert [i.id for i in again] == [i.id for i in first]
    assert len(honest.cloud.compute.instances("default", [REGION])) == 2


def test_a_launch_is_looked_up_by_its_tag(honest: World):
    """All that it brought, in the order of their numbers, also what has ended; and nothing of another launch."""
    compute, launch = honest.cloud.compute, a_launch(honest.stage, hosts=3)
    assert compute.launched(launch) == []
    made = compute.launch(launch)
    compute.launch(a_launch(honest.stage + "b"))
    compute.terminate(REGION, [made[1].id])
    assert [(i.id, i.launch_index) for i in compute.launched(launch)] == [(i.id, i.launch_index) for i in made]


def test_a_changed_launch_under_the_same_token_is_refused(honest: World):
    """EC2 remembers what a ClientToken stood for."""
    launch = a_launch(honest.stage, hosts=2)
    honest.cloud.compute.launch(launch)
    with pytest.raises(LaunchImpossible, match="sent before with other parameters") as caught:
        honest.cloud.compute.launch(replace(launch, user_data=b"#!/bin/sh\nfalse\n"))
    assert caught.value.code == "IdempotentParameterMismatch"


def test_two_stages_of_one_account_list_only_their_own(moto_url: str):
    """The pools have the same name, the region is the same: only the stage's tag tells their machines apart."""
    stages = [aws_world("moto", moto_url) for _ in range(2)]
    for stage in stages:
        (made,) = stage.cloud.compute.launch(a_launch(stage.stage))
        assert [i.id for i in stage.cloud.compute.instances("default", [REGION])] == [made.id]
        assert made.tags["spillway:stage"] == stage.stage


def test_a_pools_own_launch_template_is_launched_from(honest: World):
    """By name alone its default version, else the version that was named; what it brings is used, the credentials are the stage's."""
    template = f"graders-{honest.stage}"
    if isinstance(honest, AwsWorld):
        ec2 = a_client("ec2", honest.endpoint_url)
        ec2.create_launch_template(LaunchTemplateName=template, LaunchTemplateData={"ImageId": OTHER_IMAGE})
        ec2.create_launch_template_version(LaunchTemplateName=template, LaunchTemplateData={"ImageId": MOTO_IMAGE})
    for n, (name, image) in enumerate(((template, OTHER_IMAGE), (f"{template}:2", MOTO_IMAGE))):
        launch = a_launch(f"{honest.stage}-{n}", template=name)
        (made,) = honest.cloud.compute.launch(launch)
        assert [i.id for i in honest.cloud.compute.launch(launch)] == [made.id]
        if isinstance(honest, AwsWorld):
            (found,) = ec2.describe_instances(InstanceIds=[made.id])["Reservations"][0]["Instances"]
            assert found["ImageId"] == image
            assert found["IamInstanceProfile"]["Arn"].endswith(f"spillway-{honest.stage}-host")


def test_a_changed_template_under_the_same_token_is_refused(honest: World):
    """As every other change of the request is: nobody may think that a launch came from another template than it did."""
    launch = a_launch(honest.stage)
    honest.cloud.compute.launch(launch)
    with pytest.raises(LaunchImpossible) as caught:
        honest.cloud.compute.launch(replace(launch, template=f"spillway-{honest.stage}-host:1"))
    assert caught.value.code == "IdempotentParameterMismatch"


def test_user_data_over_the_limit_is_refused(honest: World):
    """EC2 takes 16,384 bytes and not one more."""
    fits = a_launch(honest.stage + "a", user_data=b"x" * 16_384)
    over = a_launch(honest.stage + "b", user_data=b"x" * 16_385)
    assert len(honest.cloud.compute.launch(fits)) == 1
    with pytest.raises(LaunchImpossible):
        honest.cloud.compute.launch(over)


def test_spot_in_a_zone_is_launched(honest: World):
    """Market and zone belong to the offering."""
    offering = Offering(region=REGION, instance_type="c7i.large", market="spot", zone="us-east-1b")
    assert len(honest.cloud.compute.launch(a_launch(honest.stage, offering=offering))) == 1


def test_lists_know_pools_and_regions_apart(world: World):
    """A pass must never see, let alone end, another pool's machines."""
    compute = world.cloud.compute
    (mine,) = compute.launch(a_launch(world.stage + "a", pool="a"))
    compute.launch(a_launch(world.stage + "b", pool="b"))
    assert [i.id for i in compute.instances("a", [REGION])] == [mine.id]
    assert compute.instances("a", ["eu-west-1"]) == []
    assert compute.instances("nobody", [REGION]) == []


def test_a_terminated_machine_leaves_the_list(world: World):
    """What EC2 no longer lists is gone."""
    compute = world.cloud.compute
    (made,) = compute.launch(a_launch(world.stage))
    compute.terminate(REGION, [made.id])
    assert [i for i in compute.instances("default", [REGION]) if i.state in ("pending", "running")] == []


def test_terminating_an_unknown_id_does_not_spare_the_others(world: World):
    """EC2 refuses a call whole for one id it has forgotten; the rest must still stop costing money."""
    compute = world.cloud.compute
    (made,) = compute.launch(a_launch(world.stage))
    compute.terminate(REGION, ["i-0123456789abcdef0", made.id, "i-0fedcba9876543210"])
    compute.terminate(REGION, [made.id])
    compute.terminate(REGION, [])
    assert [i for i in compute.instances("default", [REGION]) if i.state in ("pending", "running")] == []


def test_the_doorbell_reaches_machines_that_are_there(world: World):
    """One Run Command for up to 50 hosts."""
    (made,) = world.cloud.compute.launch(a_launch(world.stage))
    assert world.cloud.compute.ring(REGION, [made.id, made.id]) == []
    assert world.count("ssm.SendCommand") == 1
    assert world.cloud.compute.ring(REGION, []) == []
    assert world.count("ssm.SendCommand") == 1


def test_the_doorbell_tells_which_machines_it_could_not_reach(honest: World):
    """Run Command refuses a call whole for one id it does not know; the caller hears which, and the others are rung."""
    made = [i.id for i in honest.cloud.compute.launch(a_launch(honest.stage, hosts=3))]
    deadline = time.monotonic() + 30  # a machine registers only when it has booted
    while (deaf := honest.cloud.compute.ring(REGION, made)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert deaf == []
    unknown = "i-0123456789abcdef0"
    assert honest.cloud.compute.ring(REGION, [made[0], unknown, *made[1:]]) == [unknown]
    honest.cloud.compute.terminate(REGION, made)


# ---- blobs


def test_an_object_comes_back_whole_or_from_a_byte_on(world: World):
    """Logs are read on from where the reader stands."""
    blobs = world.cloud.blobs
    blobs.put("inbox/a:b/inbox.json", b"0123456789")
    assert blobs.get("inbox/a:b/inbox.json") == b"0123456789"
    assert blobs.get("inbox/a:b/inbox.json", 4) == b"456789"
    assert blobs.get("inbox/a:b/inbox.json", 10) == b""
    assert blobs.get("inbox/a:b/inbox.json", 99) == b""
    blobs.put("inbox/a:b/inbox.json", b"")
    assert blobs.get("inbox/a:b/inbox.json") == b""


def test_what_is_not_there_is_none(world: World):
    """A missing object is an answer, not an error."""
    assert world.cloud.blobs.get("no/such") is None
    assert world.cloud.blobs.get("no/such", 5) is None
    assert not world.cloud.blobs.exists("no/such")
    world.cloud.blobs.put("some/such-and-more", b"x")
    assert not world.cloud.blobs.exists("some/such")
    world.cloud.blobs.put("some/such", b"x")
    assert world.cloud.blobs.exists("some/such")


def test_what_is_deleted_is_not_there_and_once_more_is_no_error(world: World):
    blobs = world.cloud.blobs
    blobs.put("hosts/a:b/j/1/checkpoint/1.tar.gz", b"x")
    blobs.put("hosts/a:b/j/1/checkpoint/2.tar.gz", b"x")
    for _ in range(2):
        blobs.delete("hosts/a:b/j/1/checkpoint/1.tar.gz")
    assert [key for key, _ in blobs.list("hosts/a:b/j/1/checkpoint/")] == ["hosts/a:b/j/1/checkpoint/2.tar.gz"]


def test_lists_are_in_key_order_and_go_on_after_a_key(world: World):
    """Chunks of a log are named by their first byte, so that key order is reading order."""
    blobs = world.cloud.blobs
    for name in ("000000000200", "000000000000", "000000000100"):
        blobs.put(f"hosts/h/log/{name}", b"x" * (int(name) // 100 + 1))
    blobs.put("hosts/i/log/000000000000", b"x")
    assert blobs.list("hosts/h/log/") == [
        ("hosts/h/log/000000000000", 1),
        ("hosts/h/log/000000000100", 2),
        ("hosts/h/log/000000000200", 3),
    ]
    assert blobs.list("hosts/h/log/", after="hosts/h/log/000000000000", limit=1) == [("hosts/h/log/000000000100", 2)]
    assert blobs.list("hosts/none/") == []


def test_a_signed_url_gives_the_object_to_anyone(world: World):
    """Hosts fetch inputs by it and people outputs, with plain HTTP."""
    world.cloud.blobs.put("hosts/h/out/ä b.html", b"report", "text/html")
    assert world.download(world.cloud.blobs.get_url("hosts/h/out/ä b.html", 60)) == b"report"
    assert world.download(world.cloud.blobs.get_url("hosts/h/out/ä b.html", 60, "Übung 1.html")) == b"report"


def test_a_signed_upload_takes_what_was_announced(world: World):
    """The client sends the headers that it was given and nothing else."""
    body = bytes(range(256)) * 50
    sha256 = hashlib.sha256(body).hexdigest()
    url, headers = world.cloud.blobs.put_url(f"uploads/{sha256}", sha256, 60)
    assert headers["x-amz-checksum-sha256"] == base64.b64encode(hashlib.sha256(body).digest()).decode()
    world.upload(url, body, headers)
    assert world.cloud.blobs.get(f"uploads/{sha256}") == body


def test_a_signed_upload_refuses_other_content(world: World):
    """An upload is named by its hash; S3 compares."""
    if world.kind == "moto":
        pytest.skip("bare moto does not compare x-amz-checksum-sha256 with the body")
    url, headers = world.cloud.blobs.put_url("uploads/x", hashlib.sha256(b"right").hexdigest(), 60)
    with pytest.raises(PermissionError):
        world.upload(url, b"wrong", headers)
    assert world.cloud.blobs.get("uploads/x") is None


# ---- queues


def test_a_wake_names_its_pool(world: World):
    """The message of docs/contracts.md §8."""
    world.cloud.queues.wake("exam", "exam:7")
    assert [json.loads(b) for b in world.receive("wakes")] == [{"v": 1, "pool": "exam"}]


def test_a_thousand_wakes_with_one_id_are_one_message(world: World):
    """Submissions during a pass cost one further pass."""
    for _ in range(5):
        world.cloud.queues.wake("exam", "exam:7")
    world.cloud.queues.wake("lab", "lab:7")
    world.cloud.queues.wake("exam", "exam:8")
    bodies = []
    for _ in range(3):
        bodies += [json.loads(b)["pool"] for b in world.receive("wakes")]
    assert sorted(bodies) == ["exam", "exam", "lab"]


def test_ids_count_within_a_pool(world: World):
    """The queue's deduplication scope is the message group."""
    if world.kind != "memory":
        pytest.skip("moto compares FIFO ids across groups, whatever the queue's DeduplicationScope says")
    world.cloud.queues.wake("exam", "7")
    world.cloud.queues.wake("lab", "7")
    assert len(world.receive("wakes")) == 2


def test_an_id_stays_swallowed_after_its_message_was_deleted(honest: World):
    """SQS remembers for five minutes; a wake scheme that relies on less loses wakes on AWS only."""
    honest.cloud.queues.wake("exam", "exam:7")
    assert len(honest.receive("wakes")) == 1
    honest.cloud.queues.wake("exam", "exam:7")
    assert honest.receive("wakes") == []


def test_a_timer_waits(world: World):
    """Seconds from 0 to 900; SQS has no more, so neither has anyone."""
    world.cloud.queues.timer({"v": 1, "kind": "wake", "pool": "later"}, 900)
    world.cloud.queues.timer({"v": 1, "kind": "wake", "pool": "now"}, 0)
    assert [json.loads(b)["pool"] for b in world.receive("timers")] == ["now"]
    assert world.receive("timers") == []
    for delay_s in (-1, 901):
        with pytest.raises(ValueError, match="0 to 900 s"):
            world.cloud.queues.timer({"v": 1}, delay_s)


def test_the_canary_sings_on_the_heartbeat_queue(world: World):
    """Silence is held against a host only when the canary came back."""
    world.cloud.queues.canary(NOW)
    assert [json.loads(b) for b in world.receive("heartbeats")] == [{"v": 1, "canary": {"at": NOW}}]


def test_dead_letters_of_every_queue_are_read_and_buried(world: World):
    """Nothing dies unseen: body, where it died and when it was sent."""
    names = ["submissions", "heartbeats", "wakes", "timers"]
    for name in names:
        world.kill(name, f"{name} is dead")
    letters = world.cloud.queues.dead_letters()
    assert [(letter.queue, letter.body) for letter in letters] == [(name, f"{name} is dead") for name in names]
    sent_about = NOW if world.kind == "memory" else time.time()
    assert all(abs(letter.sent_at - sent_about) < 60 for letter in letters)
    assert len({letter.message_id for letter in letters}) == 4
    for letter in letters:
        world.cloud.queues.bury(letter)
    depths = world.cloud.queues.depths()
    assert all(depths[f"{name}-dead"] == 0 for name in names)
    assert world.cloud.queues.dead_letters() == []


def test_a_dead_letter_keeps_its_sender_and_a_submission_may_be_sent_again(world: World):
    """Who spoke is proven once, by SQS, when it was sent."""
    world.kill("heartbeats", "x")
    (letter,) = world.cloud.queues.dead_letters()
    assert isinstance(letter.sender, str)
    assert bool(letter.sender) == (world.kind != "memory"), "there nobody said who sent it"
    world.cloud.queues.resubmit({"again": {"id": "m"}})
    assert [json.loads(b) for b in world.receive("submissions")] == [{"again": {"id": "m"}}]


def test_depths_name_every_queue_shortly(world: World):
    """What health shows."""
    world.cloud.queues.canary(NOW)
    world.kill("timers", "x")
    assert world.cloud.queues.depths() == {
        **dict.fromkeys(["submissions", "wakes", "timers", "submissions-dead", "heartbeats-dead", "wakes-dead"], 0),
        "heartbeats": 1,
        "timers-dead": 1,
    }


# ---- notices


def test_a_notice_is_one_document_with_its_strings_as_attributes(world: World):
    """The mailing list subscribes by filter policy on the attributes."""
    notice = {
        "version": 1,
        "type": "job_lost",
        "severity": "error",
        "pool": "exam",
        "subject": "job-1",
        "reason": "its host vanished\nbefore it could say how it ended: schade, Übung",
        "at": NOW,
        "detail": {"attempt": 1},
        "empty": "",
    }
    world.cloud.notices.publish(notice)
    assert world.published() == [(notice, {k: notice[k] for k in ("type", "severity", "pool", "subject", "reason")})]


# ---- requests are counted


def test_every_request_is_counted_by_its_operation(world: World):
    """Costs and limits of AWS are counts of requests, so tests and metrics read them in one place."""
    world.cloud.blobs.put("a", b"")
    world.cloud.blobs.get("a")
    world.cloud.blobs.get_url("a", 60)  # signed here, no request
    world.cloud.queues.wake("p", "1")
    world.cloud.compute.instances("default", [REGION, "eu-west-1"])
    counted = {
        op: world.count(op) for op in ("s3.PutObject", "s3.GetObject", "sqs.SendMessage", "ec2.DescribeInstances")
    }
    assert counted == {"s3.PutObject": 1, "s3.GetObject": 1, "sqs.SendMessage": 1, "ec2.DescribeInstances": 2}
    if isinstance(world, AwsWorld):
        assert world.cloud.requests.take()["ec2.DescribeInstances"] == 2
        assert world.cloud.requests.counts() == {}
