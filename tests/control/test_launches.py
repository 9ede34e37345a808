"""Cold starts whose requests, answers or manifests are not as one would like them."""

from __future__ import annotations

import gzip
import random
from dataclasses import replace
from typing import Any

import pytest
from fragile import fragile
from town import OFFERING, Town

from chalicelib.cloud.memory import MemoryCompute
from chalicelib.control import passes
from chalicelib.control.perform import Performer
from chalicelib.control.reconcile_pool import observe
from chalicelib.control.submit import submit_many
from chalicelib.core.backlog import entry_of
from chalicelib.core.host import HostState, Launch, Offering
from chalicelib.core.instance import Instance
from chalicelib.core.job import JobState
from chalicelib.core.job_spec import Input, JobSpec
from chalicelib.core.plan import Plan, Start
from chalicelib.core.pool import PoolSpec
from chalicelib.core.reconcile import reconcile
from chalicelib.errors import CapacityRefused, CloudUnavailable, LaunchImpossible

OTHER = Offering(region="us-east-1", instance_type="m7i.large")


def test_a_launch_that_a_deploy_has_changed_meanwhile_is_known_by_its_tag() -> None:
    """EC2 answers that the token stands for another request: its machine is there and may have begun, so nothing is given back."""
    town = Town()
    town.cloud.calls.fail("ec2.RunInstances", CloudUnavailable("no answer"), answer_lost=True)
    job = town.submit("run 500")
    town.run(1)
    (token,) = town.cloud.compute._tokens
    request, ids = town.cloud.compute._tokens[token]
    town.cloud.compute._tokens[token] = ((*request[:-1], "another image"), ids)
    town.run(150)
    assert town.job(job.id).state is JobState.RUNNING
    assert len(town.cloud.compute.machines) == 1
    town.run_until_quiet()
    assert town.began == {(job.id, 1): 1}


REFUSALS = [
    LaunchImpossible("UnauthorizedOperation", "a policy was changed meanwhile"),
    LaunchImpossible("InvalidAMIID.NotFound", "the image was deregistered meanwhile"),
    LaunchImpossible("IdempotentParameterMismatch", "a deploy has changed the request"),
    CapacityRefused("VcpuLimitExceeded", "the first one has used it up"),
]


@pytest.mark.parametrize("list_lag_s", [0, 100])
@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.code)
def test_a_refused_second_try_does_not_give_away_what_the_first_one_launched(
    refusal: CapacityRefused | LaunchImpossible, list_lag_s: int
) -> None:
    """It says nothing about the first one, whose answer was lost; EC2's list does, and that is late."""
    town = Town()
    town.cloud.compute.list_lag_s = list_lag_s
    town.cloud.calls.fail("ec2.RunInstances", CloudUnavailable("no answer"), answer_lost=True)
    town.cloud.calls.fail("ec2.RunInstances", refusal, times=50)
    job = town.submit("run 60")
    town.run(240)
    assert town.job(job.id).state is JobState.SUCCEEDED
    assert (len(town.cloud.compute.machines), town.began) == (1, {(job.id, 1): 1})


def test_a_refused_second_try_is_believed_when_ec2s_list_has_had_the_time_to_know_of_the_first() -> None:
    """The job waits for another host then, and its row says why; two minutes, not for ever."""
    town = Town(PoolSpec(offerings=(OFFERING, OTHER)))
    town.cloud.calls.fail("ec2.RunInstances", CloudUnavailable("no answer"))
    town.submit("run 5")
    town.run(1)
    town.cloud.compute.limit(OFFERING, 0)
    town.run(110)
    assert not town.cloud.compute.machines
    town.run(70)
    (machine,) = town.cloud.compute.machines.values()
    assert machine.offering == OTHER


def test_what_ec2_never_answers_goes_back_after_some_minutes() -> None:
    """An error that is new to us must not hold jobs for ever: the launch is looked up, and the next offering is tried."""
    town = Town(PoolSpec(offerings=(OFFERING, OTHER)))
    town.cloud.calls.fail("ec2.RunInstances", CloudUnavailable("SomethingNewFrom2031"), times=18)
    job = town.submit("run 5")
    town.run(600)
    assert town.job(job.id).state is JobState.ASSIGNED
    town.run(260)
    assert town.job(job.id).state is JobState.SUCCEEDED
    assert [m.offering for m in town.cloud.compute.machines.values()] == [OTHER]
    assert "EC2 did not say for 10 min" in " ".join(line.reason for line in town.stores.story.of(job.id))


@pytest.mark.parametrize(("away_s", "state"), [(1800, JobState.SUCCEEDED), (7200, JobState.LOST)])
def test_a_machine_that_has_come_and_gone_unseen_may_have_run_its_jobs(away_s: int, state: JobState) -> None:
    """EC2 lists what has ended for about an hour: so long its claim can be asked. After that nobody knows, and one attempt is allowed."""
    town = Town()
    town.cloud.calls.fail("ec2.RunInstances", CloudUnavailable("no answer"), answer_lost=True)
    job = town.submit("run 5")
    town.run(1)
    (machine,) = town.cloud.compute.machines.values()
    town.unmanned.add(machine.id)
    town.cloud.compute.lose(machine.id)
    town.now += away_s  # nothing of ours runs meanwhile
    town.run(400)
    assert town.job(job.id).state is state
    assert sum(town.began.values()) == (state is JobState.SUCCEEDED)


def forgotten(crash_at: int | None) -> tuple[JobState, int]:
    """What becomes of a job whose machine came and went two hours ago, unseen; and how many calls were made until that was known."""
    town = Town()
    town.cloud.calls.fail("ec2.RunInstances", CloudUnavailable("no answer"), answer_lost=True)
    job = town.submit("run 5")
    town.run(1)
    (machine,) = town.cloud.compute.machines.values()
    town.cloud.compute.lose(machine.id)
    town.now += 7200
    fuse = fragile(town)
    fuse.burn_at = set() if crash_at is None else {crash_at}
    town.invoke(passes.receive, '{"pool": "default"}')
    calls = fuse.calls
    for _ in range(0 if crash_at is None else 2):
        town.now += 130
        town.invoke(passes.receive, '{"pool": "default"}')
    return town.job(job.id).state, calls


def test_who_dies_while_it_gives_up_what_was_forgotten_does_not_start_it_again() -> None:
    """At whichever call: a row that ends without an instance looks like one that never had any."""
    state, calls = forgotten(None)
    assert state is JobState.LOST
    for point in range(1, calls + 1):
        assert forgotten(point)[0] is JobState.LOST, f"crash at call {point} of {calls}"


class Miscounting:
    """An EC2 that gives all machines of a launch the same number."""

    def __init__(self, compute: MemoryCompute) -> None:
        self._compute = compute

    def __getattr__(self, name: str) -> Any:
        return getattr(self._compute, name)

    def launch(self, launch: Launch) -> list[Instance]:
        return [replace(instance, launch_index=0) for instance in self._compute.launch(launch)]


def test_two_machines_of_one_number_are_not_both_kept() -> None:
    """Both would read the same entry of the manifest and run its job."""
    town = Town(PoolSpec(offerings=(OFFERING,), slots_per_host=1))
    cloud: Any = replace(town.cloud, compute=Miscounting(town.cloud.compute))
    town.plane = replace(town.plane, cloud=cloud)
    submit_many(town.plane, [JobSpec(command="run 5", timeout_s=60) for _ in range(3)], "alice")
    town.run(1)
    machines = list(town.cloud.compute.machines.values())
    assert [m.ended_at is None for m in machines[:3]] == [True, False, False]


def test_a_pass_that_was_overtaken_launches_nothing() -> None:
    """The newer one may have read the hosts before this one wrote its own: both would fill the same floor."""
    town = Town(PoolSpec(offerings=(OFFERING,), hosts_min=2, hosts_max=2))
    pool = town.stores.registry.begin_pass("default")
    assert pool is not None
    snapshot, _ = observe(town.plane, pool)
    performer = Performer(town.plane, pool, pool.pass_no)
    town.stores.registry.begin_pass("default")
    performer.perform(reconcile(snapshot))
    assert dict(performer.outcomes) == {"start:overtaken": 1}
    assert not town.hosts()
    town.run(61)
    assert len(town.cloud.compute.machines) == 2


def test_a_launch_that_ec2_did_not_answer_is_sent_again_when_it_may_be_and_not_at_some_tick() -> None:
    """The tick's looks would find it half a minute to a minute and a half later."""
    town = Town()
    town.run(30)
    town.cloud.calls.fail("ec2.RunInstances", CloudUnavailable("throttled"))
    job = town.submit("run 5")
    town.run(1)
    (first,) = town.stores.hosts.of_pool("default")[1]
    town.run(9)
    town.submit("run 5")  # each further look orders the next one
    town.run(24)
    assert not [m for m in town.cloud.compute.machines.values() if m.launch.id == first.id]
    town.run(4)
    assert [m for m in town.cloud.compute.machines.values() if m.launch.id == first.id]
    town.run(30)
    assert town.job(job.id).ended


def test_work_that_user_data_cannot_hold_is_in_the_inbox_when_the_host_boots() -> None:
    """No doorbell can ring there yet; the agent reads its inbox at boot, so it must be written by then."""
    town = Town()
    text = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=40_000))
    job = town.submit("run 5", inputs=(Input(path="big", text=text),))
    town.run(27)
    assert town.job(job.id).state is JobState.SUCCEEDED
    assert not town.cloud.compute.rings


def test_a_launch_whose_manifest_holds_everything_reads_no_host_again() -> None:
    """Inboxes are written only where the manifest leaves something to them."""
    town = Town(PoolSpec(offerings=(OFFERING,), slots_per_host=1))
    submit_many(town.plane, [JobSpec(command="run 5", timeout_s=60) for _ in range(5)], "alice")
    read: list[str] = []
    get = town.stores.hosts.get
    town.stores.hosts.get = lambda pool, host: read.append(host) or get(pool, host)  # type: ignore[method-assign,func-returns-value]
    town.run(5)
    assert len(town.cloud.compute.machines) == 5
    assert not read


def test_an_agent_does_not_leave_before_its_pool_lets_it_go() -> None:
    town = Town(PoolSpec(offerings=(OFFERING,), linger_s=3600, idle_max_s=900))
    town.submit("run 5")
    town.run(25)
    (agent,) = town.agents.values()
    assert agent.manifest["settings"]["idle_max_s"] == 3900


def test_a_job_is_accepted_though_its_pool_cannot_be_woken() -> None:
    """It is recorded; an error would make the client submit it again. The tick wakes the pool."""
    town = Town()
    town.cloud.calls.fail("sqs.SendMessage", CloudUnavailable("no answer"))
    job = town.submit("run 5")
    town.run(100)
    assert town.job(job.id).state is JobState.SUCCEEDED
    assert {replace(h, assignments=()).state for h in town.hosts()} <= {HostState.READY, HostState.TERMINATED}


def test_user_data_shows_one_owners_jobs_only_and_the_others_come_by_inbox() -> None:
    """Everything on a machine can read its user data, and all machines of a launch have the same; small owners share one."""
    town = Town(PoolSpec(offerings=(OFFERING,)))
    entries = []
    for owner in ("alice", "bob"):
        (submitted,) = submit_many(town.plane, [JobSpec(command="run 5", timeout_s=60)], owner)
        entries.append(entry_of(submitted.job))
    pool = town.stores.registry.begin_pass("default")
    assert pool is not None
    shared = Start(OFFERING, tuple((entry,) for entry in entries), "small owners share a request")
    Performer(town.plane, pool, pool.pass_no).perform(Plan(actions=(shared,)))
    town.run(40)
    one, other = town.cloud.compute.machines.values()
    assert one.launch is other.launch
    shown = gzip.decompress(one.launch.user_data).decode()
    assert [entry.owner for entry in entries if entry.job in shown] == ["alice"]
    assert {town.job(entry.job).state for entry in entries} == {JobState.SUCCEEDED}
    assert {host.domain for host in town.hosts()} == {"alice", "bob"}
    assert not town.cloud.compute.rings  # it read its inbox at boot


def test_of_two_passes_that_would_send_a_launch_again_one_does() -> None:
    """EC2 remembers no refusal by its token: were both to send, one could be refused and give the job away while the other starts it."""
    town = Town()
    town.cloud.calls.fail("ec2.RunInstances", CloudUnavailable("no answer"))
    job = town.submit("run 500")
    town.run(1)
    town.now += 121
    pool = town.stores.registry.begin_pass("default")
    assert pool is not None
    resumes = reconcile(observe(town.plane, pool)[0])
    first, second = Performer(town.plane, pool, pool.pass_no), Performer(town.plane, pool, pool.pass_no)
    town.cloud.compute.limit(OFFERING, 0)
    first.perform(resumes)
    assert dict(first.outcomes) == {"resume:refused": 1}
    town.cloud.compute.limit(OFFERING, None)
    second.perform(resumes)
    assert dict(second.outcomes) == {"resume:lost": 1}
    assert not town.cloud.compute.machines
    town.run(400)
    assert town.began == {(job.id, 2): 1}
