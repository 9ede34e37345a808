"""Who is told that a job has ended, and how."""

from __future__ import annotations

import hmac
import json
from dataclasses import replace
from itertools import pairwise

import msgspec
import pytest
from fragile import fragile
from town import Town

from chalicelib.control import delivery, explain, timers
from chalicelib.core.job_spec import Notify
from chalicelib.core.telling import PAUSE_MAX_S, TRIES_MAX, Telling
from chalicelib.core.webhook import signature
from chalicelib.core.why_job import why_job
from chalicelib.errors import BadRequest, CloudUnavailable

HOOK = "https://marks.example.org/ended?course=1"


def told_by_topic(town: Town) -> list[str]:
    return [n["subject"] for n in town.cloud.notices.published if n["type"] == "job_finished"]


def posts(town: Town) -> list[tuple[float, str]]:
    return [(post.at, post.body["job"]["state"]) for post in town.cloud.outside.posts]


def unreachable(*_: object) -> None:
    raise CloudUnavailable("the queue does not answer")


def test_webhook_and_topic_are_told_once_and_the_row_says_when() -> None:
    """Who asked is told, in seconds; who did not ask is not; the story says so."""
    town = Town()
    job = town.submit("run 5", notify=Notify(webhook=HOOK, topic=True))
    quiet = town.submit("run 5")
    town.run(300)
    assert told_by_topic(town) == [job.id], f"not {quiet.id}, which nobody asked about"
    (post,) = town.cloud.outside.posts
    assert post.url == HOOK
    assert post.headers["x-spillway-delivery"] == f"{job.id}.ended"
    assert (post.body["job"]["id"], post.body["job"]["state"]) == (job.id, "succeeded")
    found = town.job(job.id)
    assert found.delivered_at is not None
    assert found.delivered_at - max(found.entered.values()) < 2
    assert town.job(quiet.id).delivered_at is None
    assert [line.reason for line in town.stores.story.of(job.id) if line.event == "delivered"] == [
        "told: webhook, topic"
    ]
    assert town.stores.jobs.untold() == ([], None)


def test_a_webhook_that_fails_is_tried_again_and_the_others_are_not() -> None:
    """Ten seconds, twenty, forty …: and the topic, which was reached, is told once."""
    town = Town()
    town.cloud.outside.answers[:] = [500, 404, 302, 204]
    job = town.submit("run 5", notify=Notify(webhook=HOOK, topic=True))
    town.run(300)
    times = [at for at, _ in posts(town)]
    assert [round(b - a) for a, b in pairwise(times)] == [10, 20, 40]
    assert told_by_topic(town) == [job.id]
    assert town.job(job.id).delivered_at == times[-1]
    assert {post.headers["x-spillway-delivery"] for post in town.cloud.outside.posts} == {f"{job.id}.ended"}


def test_a_message_that_comes_too_early_or_twice_tries_nothing() -> None:
    """The row says when the next try is due: whoever asks before then, however often, calls nobody."""
    town = Town()
    town.cloud.outside.answers[:] = [500] * 3
    job = town.submit("run 5", notify=Notify(webhook=HOOK))
    while town.job(job.id).telling.tries < 3:
        town.run(1)
    for _ in range(5):
        delivery.deliver(town.plane, job.id)
    assert len(posts(town)) == 3
    town.run(100)
    for _ in range(5):
        delivery.deliver(town.plane, job.id)
    assert len(posts(town)) == 4


def test_who_does_not_answer_holds_up_nobody_else() -> None:
    """A webhook that hangs is waited for once a minute, however many jobs want it told; and what is urgent is handled first."""
    town = Town()
    jobs = [town.submit("run 1", notify=Notify(webhook=HOOK)) for _ in range(30)]
    town.run(20)

    def hangs() -> None:
        town.now += 10
        raise CloudUnavailable("it does not answer in time")

    town.cloud.outside.meanwhile = hangs
    before, wakes = town.now, town.cloud.queues.wakes.sent
    batch = [(job.id, json.dumps({"v": 1, "kind": "ended", "job": job.id})) for job in jobs[:9]]
    timers.receive(town.plane, [*batch, ("w", json.dumps({"v": 1, "kind": "wake", "pool": "default"}))])
    assert town.cloud.queues.wakes.sent == wakes + 1
    assert town.now - before <= 10
    town.cloud.outside.meanwhile = lambda: None
    town.run(300)
    assert all(town.job(job.id).delivered_at is not None for job in jobs)


def test_a_batch_that_took_long_puts_its_calls_off() -> None:
    """A function has 30 seconds: a call that might not end in time is ordered anew, and lost by nobody."""
    town = Town()
    jobs = [town.submit("run 1", notify=Notify(webhook=f"https://h{n}.example.org/")) for n in range(6)]
    real, town.cloud.queues.timer = town.cloud.queues.timer, unreachable  # type: ignore[method-assign]
    town.run(60)
    town.cloud.queues.timer = real  # type: ignore[method-assign]
    before = town.now

    def slow() -> None:
        town.now += 9

    town.cloud.outside.meanwhile = slow
    timers.receive(town.plane, [(job.id, json.dumps({"v": 1, "kind": "ended", "job": job.id})) for job in jobs])
    assert town.now - before <= 18
    town.run(300)
    assert len(town.cloud.outside.posts) == 6
    assert all(town.job(job.id).delivered_at is not None for job in jobs)


def test_nobody_answers_for_ever() -> None:
    """After three hours it is given up: people are told, the row says why, and nothing is tried any more."""
    town = Town()
    town.cloud.calls.fail("http.Post", CloudUnavailable("nobody is there"), times=1000)
    job = town.submit("run 5", notify=Notify(webhook=HOOK))
    town.run(5 * 3600)
    assert town.job(job.id).telling.tries == TRIES_MAX
    assert town.cloud.calls.count("http.Post") == TRIES_MAX - 2, (
        "the tries that follow within a minute of another call nobody"
    )
    found = town.job(job.id)
    assert (found.delivered_at, found.telling.given_up) == (None, True)
    (notice,) = [n for n in town.cloud.notices.published if n["type"] == "delivery_failed"]
    assert notice["subject"] == job.id
    assert "nobody is there" in notice["reason"]
    assert town.stores.jobs.untold() == ([], None)
    assert PAUSE_MAX_S <= 900, "SQS delays no message for longer"


@pytest.mark.parametrize("lost_at", range(1, 24))
def test_a_crash_anywhere_in_the_telling_loses_nobody(lost_at: int) -> None:
    """Whatever call a function dies at from the end on, all are told: at least once, and the row says so."""
    town = Town()
    job = town.submit("run 5", notify=Notify(webhook=HOOK, topic=True))
    while not town.agents or town.job(job.id).state != "running":
        town.run(1)
    fuse = fragile(town)
    fuse.burn_at = {lost_at}
    town.run(600)
    assert town.job(job.id).delivered_at is not None
    assert posts(town)
    assert set(told_by_topic(town)) == {job.id}


def test_an_end_whose_order_was_lost_is_found_by_the_sweep() -> None:
    """The queue does not take the order: two ticks later it is ordered again."""
    town = Town()
    job = town.submit("run 5", notify=Notify(topic=True))
    while town.job(job.id).state != "running":
        town.run(1)
    order, town.cloud.queues.timer = town.cloud.queues.timer, unreachable  # type: ignore[method-assign]
    town.run(10)
    assert town.job(job.id).ended
    town.cloud.queues.timer = order  # type: ignore[method-assign]
    assert told_by_topic(town) == []
    town.run(190)
    assert told_by_topic(town) == [job.id]


@pytest.mark.parametrize(
    "url",
    [
        "http://marks.example.org/",
        "https://10.0.0.7/",
        "https://localhost/x",
        "https://[::1]/",
        "https://me:pw@example.org/",
    ],
)
def test_an_address_that_must_not_be_called_is_refused_at_submit(url: str) -> None:
    with pytest.raises(BadRequest) as caught:
        Town().submit("run 1", notify=Notify(webhook=url))
    assert [f.field for f in caught.value.faults] == ["notify.webhook"]


def test_why_says_how_the_telling_goes() -> None:
    """Being told, could not be told and when next, told, given up: in a sentence each."""
    town = Town()
    town.cloud.outside.answers[:] = [500]
    job = town.submit("run 5", notify=Notify(webhook=HOOK, topic=True))

    def why() -> str:
        return explain.job(town.plane, town.job(job.id)).sentences[-1]

    while not town.job(job.id).ended:
        town.run(1)
    assert "Its end could not be told to webhook yet: it answered 500; the next try is in" in why()
    town.run(60)
    assert why().startswith("Its end was told (webhook, topic)")
    lost = replace(town.job(job.id), delivered_at=None, telling=Telling(tries=18, fault="x", given_up=True))
    assert "in 18 tries, and it was given up: x" in why_job(lost, [], town.now, host=None, outlook=None)[-1]


def test_webhooks_are_signed_where_their_owner_has_a_key() -> None:
    """Anybody may call an address; only who knows the key can sign for it, and only for that moment."""
    town = Town()
    name = "ssm:/spillway/town/alice/webhook-key"
    town.submit("run 1", notify=Notify(webhook=HOOK))
    town.run(120)
    town.cloud.secrets.values[name] = "s3cret"
    town.submit("run 1", notify=Notify(webhook=HOOK))
    town.run(120)
    bare, signed = town.cloud.outside.posts
    assert "x-spillway-signature" not in bare.headers
    body = msgspec.json.encode(signed.body)
    assert signed.headers["x-spillway-signature"] == signature("s3cret", int(signed.at), body)
    at, digest = int(signed.at), hmac.new(b"s3cret", b"%d." % int(signed.at) + body, "sha256").hexdigest()
    assert signed.headers["x-spillway-signature"] == f"t={at},v1={digest}"
    with pytest.raises(BadRequest, match="signs your webhooks"):
        town.submit("run 1", secrets={"KEY": "ssm:webhook-key"})


def test_a_key_that_cannot_be_read_is_waited_for_and_nothing_goes_out_unsigned() -> None:
    town = Town()
    town.cloud.secrets.values["ssm:/spillway/town/alice/webhook-key"] = "s3cret"
    town.cloud.calls.fail("ssm.GetParameters", CloudUnavailable("SSM does not answer"), times=2)
    job = town.submit("run 1", notify=Notify(webhook=HOOK))
    town.run(200)
    assert town.job(job.id).telling.tries == 2
    assert ["x-spillway-signature" in post.headers for post in town.cloud.outside.posts] == [True]
