"""What only the memory cloud can be told to do, and must then do as AWS would."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import NOW, REGION, MemoryWorld, a_launch, memory_world

from chalicelib.cloud.memory_queues import MemoryQueue
from chalicelib.core.host import Offering
from chalicelib.errors import CapacityRefused, CloudUnavailable

OFFERING = Offering(region=REGION, instance_type="c7i.large")


@pytest.fixture
def world() -> MemoryWorld:
    return memory_world()


def test_capacity_gives_less_then_nothing_then_again(world: MemoryWorld):
    """A launch may get fewer than it asked for; what ends makes room."""
    compute = world.cloud.compute
    compute.limit(OFFERING, 3)
    assert len(compute.launch(a_launch("a", 2))) == 2
    assert [i.launch_index for i in compute.launch(a_launch("b", 5))] == [0]
    with pytest.raises(CapacityRefused) as caught:
        compute.launch(a_launch("c", 1))
    assert caught.value.code == "InsufficientInstanceCapacity"
    compute.terminate(REGION, [compute.alive()[0].id])
    assert len(compute.launch(a_launch("c", 1))) == 1  # the refusal used no token
    compute.limit(OFFERING, None)
    assert len(compute.launch(a_launch("d", 50))) == 50


def test_an_offering_can_be_refused_with_any_code(world: MemoryWorld):
    """Others are not concerned."""
    compute = world.cloud.compute
    compute.refuse(OFFERING, "VcpuLimitExceeded")
    with pytest.raises(CapacityRefused, match="VcpuLimitExceeded"):
        compute.launch(a_launch("a"))
    other = Offering(region=REGION, instance_type="c7i.large", market="spot")
    assert len(compute.launch(a_launch("b", offering=other))) == 1
    compute.allow(OFFERING)
    assert len(compute.launch(a_launch("a"))) == 1


def test_a_list_that_lags_shows_the_past(world: MemoryWorld):
    """EC2's lists are eventually consistent: a new machine is not there yet, an ended one still is."""
    compute = world.cloud.compute
    compute.list_lag_s = 30
    (made,) = compute.launch(a_launch("a"))
    assert compute.instances("default", [REGION]) == []
    world.now[0] += 30
    assert [i.id for i in compute.instances("default", [REGION])] == [made.id]
    compute.terminate(REGION, [made.id])
    assert [i.state for i in compute.instances("default", [REGION])] == ["running"]
    world.now[0] += 30
    assert compute.instances("default", [REGION]) == []


def test_a_machine_passes_through_ec2s_states_as_time_goes_by(world: MemoryWorld):
    """pending, running, shutting-down, gone."""
    compute = world.cloud.compute
    compute.pending_s, compute.shutdown_s = 5, 20
    (made,) = compute.launch(a_launch("a"))

    def states() -> list[str]:
        return [i.state for i in compute.instances("default", [REGION])]

    assert (made.state, states()) == ("pending", ["pending"])
    world.now[0] += 5
    assert states() == ["running"]
    compute.terminate(REGION, [made.id])
    assert (states(), compute.alive()) == (["shutting-down"], [])
    world.now[0] += 20
    assert states() == []


def test_an_interrupted_machine_ends_two_minutes_later(world: MemoryWorld):
    """Spot's notice; it can be ended earlier, never later."""
    compute = world.cloud.compute
    one, two = compute.launch(a_launch("a", 2))
    assert compute.interrupt(one.id) == NOW + 120
    assert compute.interrupt(two.id) == NOW + 120
    compute.terminate(REGION, [two.id])
    world.now[0] += 119
    assert [m.id for m in compute.alive()] == [one.id]
    world.now[0] += 1
    assert compute.alive() == []


def test_the_doorbell_tells_who_cannot_hear(world: MemoryWorld):
    """Unknown, not registered yet, ended, or in another region: refused, and the rest is rung once."""
    compute = world.cloud.compute
    made = compute.launch(a_launch("a", 4))
    compute.machines[made[1].id].registered = False
    compute.lose(made[2].id)
    ids = [i.id for i in made] + ["i-0bad"]
    assert compute.ring(REGION, ids) == [made[1].id, made[2].id, "i-0bad"]
    assert sorted(r.instance_id for r in compute.rings) == [made[0].id, made[3].id]
    assert compute.ring("eu-west-1", [made[0].id]) == [made[0].id]


def test_a_lost_answer_leaves_its_effect(world: MemoryWorld):
    """The hard kind of crash: it happened, and the caller does not know."""
    calls, compute = world.cloud.calls, world.cloud.compute
    calls.fail("ec2.RunInstances", CloudUnavailable("no answer"), answer_lost=True)
    calls.fail("ec2.RunInstances", CloudUnavailable("no way"), times=2)
    launch = a_launch("a", 2)
    with pytest.raises(CloudUnavailable, match="no answer"):
        compute.launch(launch)
    assert len(compute.alive()) == 2
    for _ in range(2):
        with pytest.raises(CloudUnavailable, match="no way"):
            compute.launch(launch)
    assert [i.id for i in compute.launch(launch)] == [m.id for m in compute.alive()]
    assert calls.count("ec2.RunInstances") == 4
    assert [call.detail["launch"] for call in calls.of("ec2.RunInstances")] == [launch] * 4


def test_a_deduplication_id_works_again_after_five_minutes(world: MemoryWorld):
    """SQS counts from the first message, not from the last that it swallowed."""
    queues = world.cloud.queues
    queues.wake("p", "p:1")
    world.receive("wakes")
    world.now[0] += 299
    queues.wake("p", "p:1")
    assert world.receive("wakes") == []
    world.now[0] += 1
    queues.wake("p", "p:1")
    assert len(world.receive("wakes")) == 1


def test_a_message_in_flight_holds_back_its_group_only():
    """One pass a pool at a time, and pools do not wait for each other."""
    queue = MemoryQueue("wakes", fifo=True, visibility_s=35)
    for group, dedup in (("a", "1"), ("a", "2"), ("b", "1")):
        queue.send(f"{group}{dedup}", NOW, group=group, dedup=dedup)
    (first,) = queue.receive(NOW, limit=1)
    assert first.body == "a1"
    assert [m.body for m in queue.receive(NOW)] == ["b1"]
    assert queue.receive(NOW + 34) == []
    queue.delete(first.receipt)
    assert [m.body for m in queue.receive(NOW + 34)] == ["a2"]


def test_what_is_received_too_often_dies_and_is_told(world: MemoryWorld):
    """Three tries for a wake; then its group goes on."""
    queues = world.cloud.queues
    queues.wake("p", "p:1")
    for _ in range(3):
        (message,) = queues.wakes.receive(world.now[0])
        assert message.body == '{"v": 1, "pool": "p"}'
        world.now[0] += 35
    assert queues.wakes.receive(world.now[0]) == []
    (letter,) = queues.dead_letters()
    assert (letter.queue, letter.body) == ("wakes", '{"v": 1, "pool": "p"}')


def test_a_timer_is_due_to_the_second(world: MemoryWorld):
    """A simulator moves its clock to `next_at`."""
    queues = world.cloud.queues
    queues.timer({"pool": "p"}, 40)
    assert queues.timers.next_at() == NOW + 40
    assert queues.timers.receive(NOW + 39.9) == []
    assert len(queues.timers.receive(NOW + 40)) == 1


def test_signed_urls_expire(world: MemoryWorld):
    """An agent that comes too late must say so."""
    blobs = world.cloud.blobs
    blobs.put("k", b"x")
    url = blobs.get_url("k", 60)
    world.now[0] += 60
    assert world.download(url) == b"x"
    world.now[0] += 1
    with pytest.raises(PermissionError, match="expired"):
        world.download(url)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 3), st.sampled_from(["send", "take", "done", "wait"]))))
def test_a_fifo_never_gives_a_group_twice_at_once_and_keeps_its_order(steps: list[tuple[str, int, str]]):
    """Whatever the interleaving: in order, and none overtakes one of its group that is in flight."""
    queue, now, flying, seen = MemoryQueue("q", fifo=True, visibility_s=1e9), NOW, {}, {"a": [], "b": []}
    sent: dict[str, list[str]] = {"a": [], "b": []}
    for number, (group, dedup, step) in enumerate(steps):
        if step == "send" and queue.send(str(number), now, group=group, dedup=str(dedup)):
            sent[group].append(str(number))
        elif step == "take":
            for message in queue.receive(now, limit=1):
                assert message.group not in flying
                flying[message.group] = message
                seen[message.group].append(message.body)
        elif step == "done" and group in flying:
            queue.delete(flying.pop(group).receipt)
        elif step == "wait":
            now += 100
    assert all(seen[g] == sent[g][: len(seen[g])] for g in "ab")
