"""The real control code in a world where everything goes wrong in any order: no job lost, none doubled, no machine left.

A state machine submits, cancels, changes settings, loses and freezes machines, cuts them off, refuses capacity, throttles AWS, kills
functions at any call or lets all others overtake them there, and makes messages late, twice and out of order. In between and at
the end the invariants are asked; at the end the world is healed, and must come to rest with every job ended and no host left.

`make chaos` plays many more and longer games (SPILLWAY_LONG), with another seed each time; a failure is shrunk and printed as
a program that repeats it.
"""

from __future__ import annotations

import math
import os
import random
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from chaos import LACKING, ChaosTown, unexplained
from fragile import crash, unavailable
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from town import Town

from chalicelib.control import arrays, pools, quotas, schedules
from chalicelib.control.cancel import cancel
from chalicelib.control.reprioritise import reprioritise
from chalicelib.control.retry import retry
from chalicelib.control.submit import submit, submit_many
from chalicelib.core import invariants
from chalicelib.core.arrays import Array, ArrayState
from chalicelib.core.host import Offering
from chalicelib.core.job import Job
from chalicelib.core.job_spec import JobSpec, Notify
from chalicelib.core.placement import STYLES
from chalicelib.core.pool import PoolSpec
from chalicelib.core.quota import Quota
from chalicelib.core.scaling.policies import POLICIES
from chalicelib.core.schedule import Outcome, Schedule
from chalicelib.errors import CloudUnavailable, Throttled

SMALL = Offering(region="us-east-1", instance_type="c7i.large", market="spot")
LARGE = Offering(region="us-east-1", instance_type="c7i.xlarge")
LONG = bool(os.environ.get("SPILLWAY_LONG"))
TOO_MANY = Throttled("RequestLimitExceeded: EC2 gets too many requests")
REST_S = 30_000.0  # within which everything must have ended once all is well
OPERATIONS = (
    "ec2.RunInstances",
    "ec2.DescribeInstances",
    "ec2.TerminateInstances",
    "ssm.SendCommand",
    "sqs.SendMessage",
    "ssm.GetParameters",
    "s3.PutObject",
    "sns.Publish",
    "autoscaling.DescribeAutoScalingGroups",
    "autoscaling.SetDesiredCapacity",
    "autoscaling.TerminateInstanceInAutoScalingGroup",
)

calls_from_now = st.integers(1, 120)
SHARES = (0.0, 0.005, 0.02, 0.08)
SHAPES = ((1.0, 512, 1), (0.25, 100, 1), (2.0, 3000, 2), (1.0, 3500, 1), (4.0, 6000, 3), (0.5, 512, 2))
OWNERS = ("alice", "bob", "carol")
LIMITED = "bob"  # has a quota
TOLD_BY = ("ec2", "agent", "both", "nobody")
seeds = st.integers(0, 2**32)
shares = st.sampled_from(SHARES)
commands = st.builds(
    "{} {}".format, st.sampled_from(["run", "run", "run", "fail", "broken"]), st.sampled_from([1, 5, 40, 300])
)
shapes = st.sampled_from(SHAPES)


LIVES: tuple[dict[str, Any], ...] = (  # what else a job may ask for
    {},
    {},
    {},
    {"queue_ttl_s": 100},
    {"market": "spot"},
    {"instance_types": ("*.xlarge",)},
    {"retry_on": ("timeout", "interruption")},
    {"hosts": 2},
    {"hosts": 3},
)
SECRETS = ("", "", "ssm:there", LACKING)
VALUE = "s3cret-of-the-game"
HEARD = Notify(webhook="https://example.org/ended", topic=True)


def a_spec(
    command: str,
    shape: tuple[float, int, int],
    priority: int,
    max_attempts: int,
    timeout_s: int,
    notify: Notify | None = None,
    life: Mapping[str, Any] = MappingProxyType({}),
    secret: str = "",
) -> JobSpec:
    cpu, memory_mib, slots = shape
    return JobSpec(
        command=command,
        timeout_s=timeout_s,
        cpu=cpu,
        memory_mib=memory_mib,
        slots=slots,
        priority=priority,
        max_attempts=max_attempts,
        notify=notify,
        **life,
        secrets={"TOKEN": secret} if secret else {},
    )


specs = st.builds(
    a_spec,
    commands,
    shapes,
    st.sampled_from([5, 0, 9]),
    st.sampled_from([1, 1, 2, 3]),
    st.sampled_from([600, 600, 60]),
    st.sampled_from([None, None, HEARD]),
    st.sampled_from(LIVES),
    st.sampled_from(SECRETS),
)
owners = st.sampled_from(OWNERS)
SCHEDULED = {"command": "run 200", "timeout_s": 600}
policies = st.fixed_dictionaries(
    {
        "misfire": st.sampled_from(["once", "skip"]),
        "overlap": st.sampled_from(["allow", "skip", "queue", "replace"]),
        "adverse": st.sampled_from(["skip", "submit"]),
    }
)
changes = st.one_of(
    st.fixed_dictionaries({"hosts_max": st.integers(1, 5)}),
    st.fixed_dictionaries({"hosts_min": st.integers(0, 2)}),
    st.fixed_dictionaries({"hosts_desired": st.sampled_from([None, 0, 1, 3])}),
    st.fixed_dictionaries({"scaling_enabled": st.booleans()}),
    st.fixed_dictionaries({"share_hosts": st.booleans()}),
    st.fixed_dictionaries({"policy": st.sampled_from(sorted(POLICIES)), "parameters": st.just({})}),
    st.fixed_dictionaries({"placement": st.sampled_from(sorted(STYLES))}),
    st.fixed_dictionaries({"slots_per_host": st.sampled_from([None, 1, 4])}),
    st.fixed_dictionaries({"linger_s": st.sampled_from([0, 30, 300])}),
    st.fixed_dictionaries({"scale_in_agree_s": st.sampled_from([0, 30, 120])}),
    st.fixed_dictionaries({"interruption_ladder": st.booleans()}),
    st.fixed_dictionaries({"spot_headroom": st.sampled_from([0.0, 0.5])}),
    st.fixed_dictionaries({"lifetime_max_s": st.sampled_from([400, 86_400])}),
    st.just({"generation": +1}),
)


class Chaos(RuleBasedStateMachine):
    """One pool's bad day."""

    @initialize(
        seed=seeds,
        linger_s=st.sampled_from([0, 60]),
        boot_s=st.sampled_from([20.0, 90.0]),
        crashes=shares,
        unanswered=shares,
        overtaken=shares,
        capacity=st.sampled_from(["ec2", "asg"]),
        limits=st.fixed_dictionaries(
            {
                "cpu_max": st.sampled_from([None, 2.0, 4.5]),
                "jobs_max": st.sampled_from([None, None, 7]),
                "usd_per_day": st.sampled_from([None, None, 0.01]),
            }
        ),
    )
    def a_pool(
        self,
        seed: int,
        linger_s: int,
        boot_s: float,
        crashes: float,
        unanswered: float,
        overtaken: float,
        capacity: str,
        limits: dict[str, Any],
    ) -> None:
        spec = PoolSpec(offerings=(SMALL, LARGE), hosts_max=3, linger_s=linger_s, missed_pings_s=90, capacity=capacity)
        self.town = ChaosTown(spec, seed)
        self.town.make_groups()
        quotas.put(self.town.plane, LIMITED, Quota(**limits), by="test")
        if limits["cpu_max"] is not None:
            self.town.cpu_max[LIMITED] = limits["cpu_max"]
        self.town.boot_s = boot_s
        self.town.cloud.secrets.values |= {f"ssm:/spillway/town/{owner}/there": VALUE for owner in OWNERS}
        self.jobs: dict[str, Job] = {}
        self.arrays: dict[str, Array] = {}
        self.cancelled: set[str] = set()
        self.town.any_call(crashes, unanswered, overtaken)
        self.scheduled: set[str] = set()
        self.generation = 0
        self._keys = 0

    # -- people

    def _keyed(self, spec: JobSpec) -> JobSpec:
        self._keys += 1
        return JobSpec(
            **{**{f: getattr(spec, f) for f in spec.__dataclass_fields__}, "idempotency_key": f"k{self._keys}"}
        )

    @rule(spec=specs, owner=owners)
    def submits(self, spec: JobSpec, owner: str) -> None:
        self._submits(spec, owner)
        self.town.settle()

    def _submits(self, spec: JobSpec, owner: str) -> None:
        keyed, town = self._keyed(spec), self.town
        if (submitted := town.insist(lambda: submit(town.plane, keyed, owner))) is not None:
            assert submitted.job.id not in self.jobs
            self.jobs[submitted.job.id] = submitted.job

    @rule(spec=specs, owner=owners, wait_s=st.sampled_from([0.5, 20.0, 70.0, 200.0, 1000.0]))
    def defers(self, spec: JobSpec, owner: str, wait_s: float) -> None:
        self._submits(replace(spec, not_before=self.town.now + wait_s), owner)
        self.town.settle()

    @precondition(lambda self: len(self.scheduled) < 2)
    @rule(timing=st.sampled_from(["*/3 * * * *", "rate(7 minutes)"]), policies=policies)
    def is_scheduled(self, timing: str, policies: dict[str, str]) -> None:
        town, name = self.town, f"s{len(self.scheduled)}"
        said = Schedule(name=name, owner="alice", timing=timing, zone="UTC", job=SCHEDULED, **policies)
        self.scheduled.add(name)
        assert town.insist(lambda: schedules.put(town.plane, said)) is not None
        town.settle()

    @precondition(lambda self: self.scheduled)
    @rule(paused=st.booleans())
    def is_paused_or_resumed(self, paused: bool) -> None:
        town, change = self.town, schedules.pause if paused else schedules.resume
        town.insist(lambda: change(town.plane, "s0", by="test"))
        town.settle()

    @rule(batch=st.lists(specs, min_size=2, max_size=8), owner=owners)
    def submits_a_batch(self, batch: list[JobSpec], owner: str) -> None:
        keyed, town = [self._keyed(spec) for spec in batch], self.town
        for submitted in town.insist(lambda: submit_many(town.plane, keyed, owner)) or ():
            assert submitted.job.id not in self.jobs
            self.jobs[submitted.job.id] = submitted.job
        town.settle()

    @rule(spec=specs, owner=owners, count=st.integers(1, 12), data=st.data())
    def submits_an_array(self, spec: JobSpec, owner: str, count: int, data: st.DataObject) -> None:
        self._submits_an_array(replace(spec, after=self._some_of(data, owner)), owner, count)
        self.town.settle()

    def _submits_an_array(self, spec: JobSpec, owner: str, count: int) -> None:
        keyed, town = self._keyed(spec), self.town
        own = [{"n": index} for index in range(count)]
        if (submitted := town.insist(lambda: arrays.submit(town.plane, keyed, count, own, owner))) is not None:
            assert submitted.array.id not in self.arrays
            self.arrays[submitted.array.id] = submitted.array

    def _some_of(self, data: st.DataObject, owner: str) -> tuple[str, ...]:
        """Jobs and arrays that somebody may wait for; often nobody."""
        known = sorted(one.id for one in (*self.jobs.values(), *self.arrays.values()) if one.owner == owner)
        return tuple(data.draw(st.lists(st.sampled_from(known), max_size=2, unique=True))) if known else ()

    @precondition(lambda self: self.jobs or self.arrays)
    @rule(spec=specs, owner=owners, on=st.sampled_from(["success", "finish"]), data=st.data())
    def waits_for_others(self, spec: JobSpec, owner: str, on: str, data: st.DataObject) -> None:
        self._submits(replace(spec, after=self._some_of(data, owner), after_on=on), owner)
        self.town.settle()

    @precondition(lambda self: self.arrays)
    @rule(data=st.data())
    def cancels_an_array(self, data: st.DataObject) -> None:
        array_id, town = data.draw(st.sampled_from(sorted(self.arrays))), self.town
        self.cancelled.add(array_id)
        town.insist(lambda: arrays.cancel(town.plane, array_id))
        town.settle()

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def cancels(self, data: st.DataObject) -> None:
        self._cancels(data.draw(st.sampled_from(sorted(self.jobs))))
        self.town.settle()

    def _cancels(self, job_id: str) -> None:
        self.cancelled.add(job_id)
        self.town.insist(lambda: cancel(self.town.plane, job_id))

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), priority=st.sampled_from([0, 5, 9]))
    def moves(self, data: st.DataObject, priority: int) -> None:
        self._moves(data.draw(st.sampled_from(sorted(self.jobs))), priority)
        self.town.settle()

    def _moves(self, job_id: str, priority: int) -> None:
        """Another place in the queue, wherever the job is."""
        self.town.insist(lambda: reprioritise(self.town.plane, job_id, priority))

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def runs_again(self, data: st.DataObject) -> None:
        self._runs_again(data.draw(st.sampled_from(sorted(self.jobs))))
        self.town.settle()

    def _runs_again(self, job_id: str) -> None:
        """A user's own retry; of one that has not ended it is refused."""
        town = self.town
        self._keys += 1
        key = f"again-{self._keys}"
        if (again := town.insist(lambda: retry(town.plane, town.job(job_id), key=key))) is not None:
            self.jobs[again.job.id] = again.job

    @rule(change=changes)
    def changes_a_setting(self, change: dict[str, Any]) -> None:
        town = self.town
        if "generation" in change:
            self.generation += 1
            change = {"generation": self.generation}
        changed = town.insist(lambda: pools.patch(town.plane, "default", change, by="test"))
        note(f"{change} {'taken' if changed else 'refused'}")
        if changed is not None:
            town.hosts_max_is(changed.spec.hosts_max)
        town.settle()

    # -- a day as it comes

    @rule(seed=seeds, seconds=st.sampled_from([60, 300]))
    def work_comes(self, seed: int, seconds: float) -> None:
        """Jobs of all kinds, some of them cancelled, over a while."""
        self._day(random.Random(seed), seconds, misfortunes=False)

    @rule(seed=seeds, seconds=st.sampled_from([300, 1200]))
    def work_and_misfortunes_come(self, seed: int, seconds: float) -> None:
        """The same, and machines and AWS behave as badly as they may. Played by a seed: hypothesis' own choices repeat themselves."""
        self._day(random.Random(seed), seconds, misfortunes=True)

    def _day(self, chance: random.Random, seconds: float, *, misfortunes: bool) -> None:
        town, end = self.town, self.town.now + seconds
        while town.now < end:
            what = chance.random()
            if what < 0.04:
                self._submits_an_array(self._any_spec(chance), chance.choice(OWNERS), chance.choice([1, 3, 20]))
            elif what < 0.4:
                for _ in range(chance.choice([1, 1, 2, 5])):
                    self._submits(self._any_spec(chance), chance.choice(OWNERS))
            elif what < 0.5 and self.jobs:
                self._cancels(chance.choice(sorted(self.jobs)[-6:]))
            elif what < 0.55 and self.jobs:
                self._moves(chance.choice(sorted(self.jobs)[-6:]), chance.choice([0, 5, 9]))
            elif what < 0.6 and self.jobs:
                self._runs_again(chance.choice(sorted(self.jobs)[-6:]))
            elif misfortunes:
                chance.choice((self._machines_fail, self._machines_fail, self._aws_fails, self._functions_fail))(chance)
            town.run(min(chance.expovariate(1 / 15), max(1.0, end - town.now)))

    def _any_spec(self, chance: random.Random) -> JobSpec:
        command = f"{chance.choice(['run', 'run', 'fail'])} {chance.choice([1, 5, 40, 300])}"
        return a_spec(
            command,
            chance.choice(SHAPES),
            5,
            chance.choice([1, 1, 2, 3]),
            chance.choice([600, 60]),
            chance.choice([None, HEARD]),
            chance.choice(LIVES),
            chance.choice(SECRETS),
        )

    def _machines_fail(self, chance: random.Random) -> None:
        town = self.town
        alive = [m.id for m in town.cloud.compute.alive() if m.id not in town.unmanned]
        what = chance.choice(
            [
                "lose",
                "lose silently",
                "shut down",
                "freeze",
                "interrupt",
                "rebalance",
                "cut off",
                "cut off",
                "reconnect",
                "orphan",
                "boots",
            ]
        )
        if what == "reconnect":
            for machine in sorted(town.deaf | town.mute.keys()):
                town.reconnect(machine)
        elif what == "boots":
            town.boots_fail = chance.random() < 0.3
        elif what == "orphan":
            if chance.random() < 0.2:
                town.orphan()
        elif alive:
            machine = chance.choice(alive)
            if what == "freeze":
                town.frozen.add(machine)
            elif what == "interrupt":
                town.interrupt(machine, chance.choice(TOLD_BY))
            elif what == "rebalance":
                town.recommend_rebalance(machine, chance.choice(TOLD_BY))
            elif what == "shut down":
                town.shut_down(machine)
            elif what == "cut off":
                town.cut_off(machine, keep=chance.random() < 0.5)
            else:
                if what == "lose silently":
                    town.unannounced.add(machine)
                town.cloud.compute.lose(machine)

    def _aws_fails(self, chance: random.Random) -> None:
        compute, what = self.town.cloud.compute, chance.random()
        if what < 0.5:
            operation = chance.choice(OPERATIONS)
            error = CloudUnavailable(f"{operation} is throttled")
            self.town.cloud.calls.fail(operation, error, chance.randint(1, 4), answer_lost=chance.random() < 0.5)
        elif what < 0.6:
            self.town.cloud.calls.fail("ec2.RunInstances", TOO_MANY, chance.randint(1, 4))
        elif what < 0.7:
            compute.quota(chance.choice([SMALL, LARGE]), chance.choice([None, 0, 1, 2]))
        elif what < 0.85:
            compute.limit(chance.choice([SMALL, LARGE]), chance.choice([None, None, 0, 1, 2]))
        else:
            compute.list_lag_s = chance.choice([0.0, 20.0, 60.0])

    def _functions_fail(self, chance: random.Random) -> None:
        if chance.random() < 0.5:
            fault = chance.choice([crash, unavailable, self.town.overtaken])
            self.town.fuse.order(chance.randint(1, 60), fault)
        else:
            self.town.any_call(*(chance.choice(SHARES) for _ in range(3)))
            self.town.duplicate, self.town.lateness = chance.choice([0.0, 0.3, 1.0]), chance.choice([0.0, 0.3, 0.9])
            self.town.late_max_s = chance.choice([3.0, 30.0, 400.0])

    # -- time

    @rule(seconds=st.sampled_from([1, 5, 20, 61, 150]))
    def time_passes(self, seconds: float) -> None:
        self.town.run(seconds)

    @rule(seconds=st.sampled_from([400, 1500]))
    def much_time_passes(self, seconds: float) -> None:
        self.town.run(seconds)

    # -- machines

    def _machine(self, data: st.DataObject) -> str:
        alive = [m.id for m in self.town.cloud.compute.alive() if m.id not in self.town.unmanned]
        return data.draw(st.sampled_from(alive))

    def _some(self) -> bool:
        return any(m.id not in self.town.unmanned for m in self.town.cloud.compute.alive())

    @precondition(_some)
    @rule(data=st.data(), silently=st.booleans())
    def a_machine_is_lost(self, data: st.DataObject, silently: bool) -> None:
        machine = self._machine(data)
        if silently:
            self.town.unannounced.add(machine)
        self.town.cloud.compute.lose(machine)
        self.town.settle()

    @precondition(_some)
    @rule(data=st.data())
    def a_machine_freezes(self, data: st.DataObject) -> None:
        self.town.frozen.add(self._machine(data))

    @precondition(_some)
    @rule(data=st.data(), told_by=st.sampled_from(TOLD_BY))
    def spot_takes_a_machine_back(self, data: st.DataObject, told_by: str) -> None:
        self.town.interrupt(self._machine(data), told_by)
        self.town.settle()

    @precondition(_some)
    @rule(data=st.data(), told_by=st.sampled_from(TOLD_BY))
    def spot_may_take_a_machine_back(self, data: st.DataObject, told_by: str) -> None:
        self.town.recommend_rebalance(self._machine(data), told_by)
        self.town.settle()

    @precondition(_some)
    @rule(data=st.data())
    def somebody_shuts_a_machine_down(self, data: st.DataObject) -> None:
        self.town.shut_down(self._machine(data))
        self.town.settle()

    @rule(fail=st.booleans())
    def boots_fail(self, fail: bool) -> None:
        self.town.boots_fail = fail

    @precondition(_some)
    @rule(data=st.data(), keep=st.booleans())
    def a_machine_is_cut_off(self, data: st.DataObject, keep: bool) -> None:
        self.town.cut_off(self._machine(data), keep)

    @precondition(lambda self: self.town.deaf or self.town.mute)
    @rule()
    def all_are_heard_again(self) -> None:
        for machine in sorted(self.town.deaf | self.town.mute.keys()):
            self.town.reconnect(machine)
        self.town.settle()

    @precondition(lambda self: len(self.town.unmanned) < 2)
    @rule()
    def an_instance_comes_from_nowhere(self) -> None:
        self.town.orphan()

    # -- AWS

    @rule(small=st.sampled_from([None, 0, 1, 2]), large=st.sampled_from([None, 0, 1]))
    def capacity_is(self, small: int | None, large: int | None) -> None:
        self.town.cloud.compute.limit(SMALL, small)
        self.town.cloud.compute.limit(LARGE, large)

    @rule(operation=st.sampled_from(OPERATIONS), times=st.integers(1, 6), answer_lost=st.booleans())
    def aws_does_not_answer(self, operation: str, times: int, answer_lost: bool) -> None:
        error = CloudUnavailable(f"{operation} is throttled")
        self.town.cloud.calls.fail(operation, error, times, answer_lost=answer_lost)

    @rule(times=st.integers(1, 6))
    def ec2_throttles(self, times: int) -> None:
        self.town.cloud.calls.fail("ec2.RunInstances", TOO_MANY, times)

    @rule(small=st.sampled_from([None, 0, 1, 2]), large=st.sampled_from([None, 1]))
    def the_quota_is(self, small: int | None, large: int | None) -> None:
        """What is asked for beyond it is refused as a whole, and asked for by halves."""
        self.town.cloud.compute.quota(SMALL, small)
        self.town.cloud.compute.quota(LARGE, large)

    @rule(lag_s=st.sampled_from([0.0, 20.0, 60.0]))
    def lists_lag(self, lag_s: float) -> None:
        self.town.cloud.compute.list_lag_s = lag_s

    @rule(
        duplicate=st.sampled_from([0.0, 0.3, 1.0]),
        lateness=st.sampled_from([0.0, 0.3, 0.9]),
        late_max_s=st.sampled_from([3.0, 30.0, 400.0]),
    )
    def messages_come(self, duplicate: float, lateness: float, late_max_s: float) -> None:
        self.town.duplicate, self.town.lateness, self.town.late_max_s = duplicate, lateness, late_max_s

    # -- functions

    @rule(at=calls_from_now)
    def a_function_will_crash(self, at: int) -> None:
        self.town.fuse.order(at, crash)

    @rule(at=calls_from_now)
    def a_call_will_not_be_answered(self, at: int) -> None:
        self.town.fuse.order(at, unavailable)

    @rule(at=calls_from_now, seconds=st.sampled_from([0.5, 5.0, 25.0]))
    def a_function_will_be_overtaken(self, at: int, seconds: float) -> None:
        """The call takes long, and all that falls due meanwhile happens before it goes on."""
        self.town.fuse.order(at, self.town.slow(seconds))
        self.town.fuse.order(at, self.town.meanwhile)

    @rule(crashes=shares, unanswered=shares, overtaken=shares)
    def any_call_may_go_wrong(self, crashes: float, unanswered: float, overtaken: float) -> None:
        self.town.any_call(crashes, unanswered, overtaken)

    @precondition(lambda self: self.jobs)
    @rule(at=calls_from_now, data=st.data())
    def a_job_will_be_cancelled_in_the_middle(self, at: int, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.jobs)))
        self.cancelled.add(job_id)
        self.town.fuse.order(at, lambda _: self.town.insist(lambda: cancel(self.town.plane, job_id)))

    @rule(at=calls_from_now)
    def a_tick_will_come_in_the_middle(self, at: int) -> None:
        self.town.fuse.order(at, lambda _: self.town.ticks())

    # -- what must be

    @invariant()
    def nothing_is_broken(self) -> None:
        if not hasattr(self, "town"):
            return
        assert not (broken := invariants.always(self.town.world())), broken
        assert not (broken := self.town.surprises()), broken

    def teardown(self) -> None:
        if not hasattr(self, "town"):
            return
        town = self.town
        town.heal()
        town.cloud.compute.limit(SMALL, None)
        town.cloud.compute.limit(LARGE, None)
        good = {"hosts_min": 0, "hosts_max": 3, "hosts_desired": None, "scaling_enabled": True, "slots_per_host": None}
        good |= {"policy": "slo", "parameters": {}, "spot_headroom": 0.0}
        assert town.insist(lambda: pools.patch(town.plane, "default", good, by="test")) is not None
        town.hosts_max_is(3)
        left = Quota(cpu_max=town.cpu_max.get(LIMITED))  # who has spent its money waits for midnight
        town.insist(lambda: quotas.put(town.plane, LIMITED, left, by="test"))
        self._fires_go_on(town)
        town.run_until_quiet(REST_S)
        self._is_at_rest(town)

    def _fires_go_on(self, town: Town) -> None:
        """Whatever has happened, no schedule is stuck: an hour later each has fired in the last minutes. Then they end."""
        for name in sorted(self.scheduled):
            schedules.resume(town.plane, name, by="test")
        town.run(3600 if self.scheduled else 0)
        for name in sorted(self.scheduled):
            last = schedules.known(town.plane, name).last_at
            assert last is not None
            assert town.now - last <= 7 * 60 + 5, name
            schedules.delete(town.plane, name)

    def _fires_are_jobs(self, town: Town, world: invariants.World) -> None:
        """Each fire that was to be submitted is one job, and no job of a schedule is without its fire."""
        fires = [f for name in self.scheduled for f in town.stores.schedules.fired(name, 10_000)]
        ours = {job.id: job for job in world.jobs if job.schedule is not None}
        assert sorted(ours) == sorted(str(f.job) for f in fires if f.outcome == Outcome.SUBMIT)
        self.jobs |= ours
        self.cancelled |= {f.cancels for f in fires if f.cancels is not None}
        early = [
            j.id
            for j in world.jobs
            if j.spec.not_before
            and min(j.entered.get("pending", math.inf), j.entered.get("assigned", math.inf)) < j.spec.not_before
        ]
        assert not early, early

    def _elements_are_jobs(self, world: invariants.World) -> None:
        """Every array is there once; its elements are jobs, cancelled with it."""
        assert {array.id for array, _ in world.arrays} == self.arrays.keys()
        elements = {job.id: job for job in world.jobs if job.array is not None}
        assert {job.array for job in elements.values()} <= self.arrays.keys()
        self.jobs |= elements
        self.cancelled |= {job.id for job in elements.values() if job.array in self.cancelled}
        for array, _ in world.arrays:
            assert array.state is not ArrayState.CANCELLED or array.id in self.cancelled, array.reason

    def _is_at_rest(self, town: Town) -> None:
        world = town.world()
        assert not (broken := invariants.at_rest(world)), broken
        assert not (broken := self.town.surprises()), broken
        groups = town.cloud.groups.groups.values()
        assert not any(group.desired or group.members for group in groups), groups
        self._fires_are_jobs(town, world)
        self._elements_are_jobs(world)
        assert {job.id for job in world.jobs} == set(self.jobs)
        began = dict.fromkeys(self.jobs, 0)
        for (job_id, *_), count in (*world.began.items(), *world.members_began.items()):
            began[job_id] += count
        lacking = {job.id for job in world.jobs if LACKING in job.spec.secrets.values()}
        assert not any(began[job_id] for job_id in lacking), "a job has begun without the secret that it names"
        kept = {key: body for key, body in town.cloud.blobs.objects.items() if not key.startswith("inbox/")}
        assert VALUE not in repr((world, kept, town.stores.jobs.__dict__, town.stores.hosts.__dict__))
        odd = [unexplained(job, began[job.id], job.id in self.cancelled) for job in world.jobs]
        assert not any(odd), [text for text in odd if text]


TestChaos = Chaos.TestCase
TestChaos.settings = settings(
    max_examples=int(os.environ.get("EXAMPLES", "2000")) if LONG else 40,
    stateful_step_count=60 if LONG else 25,
    deadline=None,
    derandomize=not LONG,
    print_blob=LONG,
    phases=[Phase.generate] if os.environ.get("NOSHRINK") else list(Phase),
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
