"""`plan` and `why`: the same observe and reconcile as a pass, and nothing but reads; whole sentences for everything there is."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from typing import Any

import pytest
from town import OFFERING, Town

from chalicelib.api import explain_view
from chalicelib.control import explain
from chalicelib.control.cancel import cancel
from chalicelib.control.submit import submit, submit_many
from chalicelib.core import why_job
from chalicelib.core.host import HostEvent, HostState
from chalicelib.core.job import JobState
from chalicelib.core.job_spec import JobSpec
from chalicelib.core.plan import Start
from chalicelib.core.pool import PoolSpec
from chalicelib.core.story import Line
from chalicelib.errors import CloudUnavailable, Throttled
from chalicelib.store.ports import Stores
from chalicelib.store.told import told

WRITES = (
    *("put", "move", "create", "note", "begin", "forget", "touch", "mark", "assign", "unassign", "take", "remove"),
    *("append", "add", "settle", "record", "request", "wait_for", "hold", "launch", "terminate", "ring", "send"),
    *("wake", "timer", "publish", "canary", "advance", "set_", "learn", "look"),
)


class ReadOnly:
    """A part of stores or cloud that refuses whatever is called like a write."""

    def __init__(self, part: Any, asked: set[str]) -> None:
        self._part = part
        self._asked = asked

    def __getattr__(self, name: str) -> Any:
        self._asked.add(name)
        if name.startswith(WRITES):
            raise AssertionError(f"{name} is no read")
        return getattr(self._part, name)


def read_only(town: Town) -> set[str]:
    """From now on the control plane may only read; which calls it makes."""
    asked: set[str] = set()
    stores = Stores(**{f.name: ReadOnly(getattr(town.stores, f.name), asked) for f in fields(Stores)})
    cloud: Any = type("ReadOnlyCloud", (), {})()
    for name in ("compute", "blobs", "queues", "notices"):
        setattr(cloud, name, ReadOnly(getattr(town.cloud, name), asked))
    town.plane = replace(town.plane, stores=told(stores), cloud=cloud)
    return asked


def the_pool(town: Town) -> Any:
    pool = town.stores.registry.pool("default")
    assert pool is not None
    return pool


def rows(town: Town) -> Any:
    ids = town.stores.jobs.of_pool("default", limit=100)[0]
    return town.stores.jobs.get_many(ids), town.stores.hosts.of_pool("default"), the_pool(town)


def whole(sentences: tuple[str, ...]) -> bool:
    """Capital letter or id first, full stop last, nothing left open inside."""
    return all(re.match(r"[A-Z0-9]|job-0|host-0", s) and s[-1] in ".!?" and "None" not in s for s in sentences)


def a_town(**spec: Any) -> Town:
    return Town(PoolSpec(offerings=(OFFERING,), **({"linger_s": 60} | spec)))


def busy_town() -> Town:
    """One job that runs, one that waits on its host, one that finds no place, one that has failed once and one that succeeded."""
    town = a_town(hosts_max=1, slots_per_host=1)
    town.submit("run 5", name="quick")
    town.run(40)
    town.submit("fail 5", max_attempts=2)
    town.run(10)
    town.submit("run 300")
    town.submit("run 10")
    town.run(5)
    return town


def test_a_plan_and_every_why_only_read() -> None:
    """With stores and cloud that refuse every write, they answer the same; nothing has changed afterwards."""
    town = busy_town()
    before = rows(town)
    asked = read_only(town)
    planned = explain.plan(town.plane, the_pool(town))
    for job_id in town.stores.jobs.of_pool("default")[0]:
        assert whole(explain.job(town.plane, town.job(job_id)).sentences)
    for host in town.hosts():
        why = explain.host(town.plane, host.id)
        assert why is not None
        assert whole(why.sentences)
    assert explain.broken(town.plane, the_pool(town)) == []
    explain_view.plan(planned)
    assert rows(town) == before
    assert {"of_pool", "head", "instances"} <= asked


def after(others: tuple[str, ...], **said: Any) -> JobSpec:
    return JobSpec(command="run 5", timeout_s=90, after=others, **said)


def test_who_waits_for_others_is_told_for_whom() -> None:
    """By id, in its row and in its why, which looks anew; in a batch by the id that `#0` has become; of an array as well."""
    town = a_town()
    first, last = submit_many(town.plane, [JobSpec(command="run 60", timeout_s=90), after(("#0",))], "alice")
    other = submit(town.plane, JobSpec(command="run 5", timeout_s=90), "alice").job
    both = submit(town.plane, after((first.job.id, other.id), after_on="finish"), "alice").job
    assert town.job(last.job.id).reason == f"submitted; waits for {first.job.id}"
    assert town.job(both.id).reason == f"submitted; waits for {first.job.id} and 1 more"
    assert f"What it waits for: {first.job.id} to succeed." in explain.job(town.plane, town.job(last.job.id)).sentences
    assert f"What it waits for: {first.job.id} and 1 more to end." in explain.job(town.plane, both).sentences
    town.run(40)
    assert town.job(other.id).ended
    assert f"What it waits for: {first.job.id} to end." in explain.job(town.plane, town.job(both.id)).sentences


def test_a_plan_is_what_the_next_pass_does() -> None:
    """Printed and performed, it is the same plan."""
    town = a_town()
    job = town.submit("run 5")
    planned = explain.plan(town.plane, the_pool(town))
    (start,) = [a for a in planned.plan.actions if isinstance(a, Start)]
    document = explain_view.plan(planned)
    (shown,) = [a for a in document.actions if a.kind == "start"]
    assert shown.jobs == [job.id]
    assert shown.words.startswith("Launch 1 host of us-east-1/*/c7i.large/on_demand with 1 job, because ")
    town.run(1)
    assert [h.offering for h in town.hosts()] == [start.offering]
    assert town.job(job.id).state is JobState.ASSIGNED


def test_a_plan_asks_ec2_for_its_list_and_says_where_it_got_none() -> None:
    """A pass asks only when it is due; what is printed must be complete, or say that it is not."""
    town = a_town()
    town.submit("run 500")
    town.run(70)
    assert town.now < the_pool(town).list_due_at
    assert explain_view.plan(explain.plan(town.plane, the_pool(town))).listed == 1

    class Dumb:
        def instances(self, pool: str, regions: Any) -> Any:
            raise CloudUnavailable("EC2 does not answer")

    cloud: Any = type("DumbCloud", (), {"compute": Dumb()})()
    town.plane = replace(town.plane, cloud=cloud)
    assert explain_view.plan(explain.plan(town.plane, the_pool(town))).listed is None


def test_why_never_asks_ec2() -> None:
    """Users may ask it as often as they like, and EC2's calls are few."""
    town = a_town(hosts_max=1, slots_per_host=1)
    for _ in range(2):
        town.submit("run 900")
    town.run(100)
    waiting = next(j for i in town.stores.jobs.of_pool("default")[0] if (j := town.job(i)).state is JobState.PENDING)
    town.now += 100.0  # its list is due since long
    asked = read_only(town)
    assert town.now > the_pool(town).list_due_at
    explain.job(town.plane, waiting)
    explain.host(town.plane, town.hosts()[0].id)
    assert "instances" not in asked


def test_a_plan_names_at_most_a_hundred_who_wait_and_counts_the_rest() -> None:
    town = a_town(hosts_max=1, slots_per_host=1)
    for _ in range(130):
        town.submit("run 900")
    town.run(30)
    document = explain_view.plan(explain.plan(town.plane, the_pool(town)))
    assert len(document.waits) == 100
    assert len(document.waits) + document.waits_more >= 120
    assert all(wait.reason for wait in document.waits)


def why(town: Town, job_id: str) -> str:
    return " ".join(explain.job(town.plane, town.job(job_id)).sentences)


def test_why_of_a_job_through_its_life() -> None:
    """It says where the job is and since when, what it waits for, what comes next, and how its attempts ended."""
    town = a_town(hosts_max=1, slots_per_host=1)
    job = town.submit("fail 30", max_attempts=2, name="essay")
    fresh = why(town, job.id)
    assert "(essay) of pool default waits for a host: since 0 s" in fresh
    assert "The next look at its pool will do this: Launch 1 host" in fresh
    assert "It is expected to begin in about" in fresh
    town.run(5)
    booting = why(town, job.id)
    assert "is launching since 5 s" in booting
    assert "It begins when its host has booted." in booting
    town.run(25)
    running = why(town, job.id)
    assert "runs: since" in running
    assert "its timeout is 10 min" in running
    waiting = town.submit("run 5")
    town.run(2)
    second = why(town, waiting.id)
    assert "What it waits for: " in second
    town.run_until_quiet()
    ended = why(town, job.id)
    assert "has failed" in ended
    assert re.search(r"Attempt 1 ran for 30 s; it ended .* ago, and the job waited again: exit 1", ended)
    assert re.search(r"Attempt 2 ran for 30 s; it ended .* ago, and the job has failed: exit 1", ended)
    assert "2 of the 2 attempts that it may have are used up." in ended
    assert "It waited" in why(town, waiting.id)


def test_why_of_a_job_whose_launch_ec2_throttles_says_so_and_not_that_its_host_boots() -> None:
    """There is a row of a host, and no machine: the launch is sent again when EC2 may be asked."""
    town = Town()
    town.cloud.calls.fail("ec2.RunInstances", Throttled("RequestLimitExceeded"))
    job = town.submit("run 5")
    town.run(1)
    said = why(town, job.id)
    assert "EC2 has not answered the launch of its host yet: EC2 gets too many requests from this account" in said
    assert "nothing is launched until" in " ".join(
        explain_view.plan(explain.plan(town.plane, town.stores.registry.pool("default"))).supply
    )
    town.run(5)
    assert "EC2 has not answered" not in why(town, job.id)


def test_an_attempt_whose_end_overtook_its_beginning_is_not_said_to_have_never_begun() -> None:
    """Messages come in any order, and a short job's end often comes first."""
    town = a_town()
    job = town.submit("run 1", max_attempts=2)
    told = [
        Line(at=town.now + n, subject=job.id, event=event, reason=reason)
        for n, (event, reason) in enumerate(
            [("assigned", ""), ("pending", "EC2 refused the launch"), ("assigned", ""), ("succeeded", "exit code 0")]
        )
    ]
    first, second = why_job.why_job(replace(job, attempt=2), told, town.now + 9, host=None, outlook=None)[-2:]
    assert "did not begin, as far as we heard" in first
    assert (
        "Attempt 2 ran, and its end was heard before its beginning; it ended 6 s ago, and the job has succeeded"
        in second
    )


def test_why_of_a_job_that_is_to_be_cancelled_says_so() -> None:
    town = a_town()
    job = town.submit("run 300")
    town.run(60)
    cancel(town.plane, job.id)
    assert "Its cancellation was asked for" in why(town, job.id)


def test_why_of_a_host_in_every_state() -> None:
    town = a_town(linger_s=100)
    town.submit("run 50")
    town.run(5)
    (host,) = town.hosts()

    def sentences() -> str:
        told_ = explain.host(town.plane, host.id)
        assert told_ is not None
        assert whole(told_.sentences), told_.sentences
        return " ".join(told_.sentences)

    assert "boots, since 5 s" in sentences()
    assert "unless its agent says hello by" in sentences()
    town.run(30)
    assert "has run for 15 s of at most 10 min" in sentences()
    assert "reserved are 1 of 2 slots, 1 of 2 cores" in sentences()
    town.run(50)
    assert "has been idle for 15 s" in sentences()
    assert "It may leave in 1 min 25 s, unless work comes" in sentences()
    assert "Its last ping came" in sentences()
    hosts = town.stores.hosts
    hosts.move("default", host.id, HostEvent.DRAIN, at=town.now, reason="somebody asked")
    assert "drains: it gets no new work" in sentences()
    assert "will do this: Terminate host" in sentences()
    hosts.touch("default", host.id, interrupt_at=town.now + 120.0, missed_lists=1)
    assert "EC2 takes it back at" in sentences()
    assert "EC2 did not list its instance 1 time in a row" in sentences()
    hosts.move("default", host.id, HostEvent.SICKEN, at=town.now, reason="its disk is full")
    assert "is not trusted any more, since 0 s" in sentences()
    assert "its disk is full" in sentences()
    hosts.move("default", host.id, HostEvent.RETIRE, at=town.now, reason="it is unhealthy and empty")
    assert "is being terminated" in sentences()
    hosts.move("default", host.id, HostEvent.VANISH, at=town.now, reason="EC2 has it no more")
    assert "is terminated" in sentences()
    assert "Its story so far" in sentences()


def test_why_of_an_older_host_says_that_it_is_to_be_replaced() -> None:
    town = a_town()
    town.submit("run 500")
    town.run(60)
    pool = the_pool(town)
    town.stores.registry.put_pool("default", replace(pool.spec, generation=3), version=pool.version)
    told_ = explain.host(town.plane, town.hosts()[0].id)
    assert told_ is not None
    assert "generation 0, older than the pool's 3" in " ".join(told_.sentences)


@pytest.mark.parametrize("state", [s for s in JobState if s not in (JobState.PENDING, JobState.RUNNING)])
def test_there_is_a_sentence_for_every_state_of_a_job(state: JobState) -> None:
    town = a_town()
    job = replace(town.submit("run 5"), state=state, entered={JobState.PENDING: town.now, state: town.now})
    assert whole(explain.job(town.plane, job).sentences)


def test_what_does_not_hold_is_told_as_sentences() -> None:
    """A host that carries more than it has; an instance more than the pool may have."""
    town = a_town(hosts_max=1)
    town.submit("run 500")
    town.run(60)
    (host,) = [h for h in town.hosts() if h.state is HostState.READY]
    table = town.stores.hosts._hosts["default"]  # type: ignore[attr-defined]
    table[host.id] = replace(host, slots=0)
    (sentence,) = explain.broken(town.plane, the_pool(town))
    assert host.id in sentence
