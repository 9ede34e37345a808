"""What a pool was at each minute: complete while it is active, nothing while it is not, and the same as metrics."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from chalice.app import MultiDict
from town import OFFERING, Town

from chalicelib.api import pool_wire, wire
from chalicelib.control import samples, tick
from chalicelib.control.submit import submit_many
from chalicelib.control.sweep import swept
from chalicelib.core.catalogue import price_usd_h
from chalicelib.core.job_spec import JobSpec
from chalicelib.core.pool import PoolSpec
from chalicelib.core.samples import is_empty
from chalicelib.errors import BadRequest, StoreUnavailable
from chalicelib.store.ports import Sample


def of(town: Town, pool: str = "default") -> list[Sample]:
    return town.stores.samples.of(pool, 0.0, town.now + 60, 1000)  # type: ignore[no-any-return]


def test_an_active_pool_has_a_sample_a_minute_and_one_when_all_is_over() -> None:
    """No gap while there are hosts or jobs; then one that is empty, and no more."""
    town = Town()
    town.run(300)
    assert of(town) == []  # never had anything
    for _ in range(4):
        town.submit("run 150")
    town.run_until_quiet()
    town.run(900)
    kept = of(town)
    at = [sample.at for sample in kept]
    assert at == [at[0] + 60 * n for n in range(len(at))]
    assert [is_empty(sample.values) for sample in kept] == [False] * (len(kept) - 1) + [True]
    town.submit("run 10")
    town.run_until_quiet()
    assert [is_empty(sample.values) for sample in of(town)].count(True) == 2


def test_a_sample_says_who_is_in_which_state_and_for_how_long() -> None:
    """Two slots, four jobs of 1,000 s: a host that is ready, two that run, two that wait for as long as they have waited."""
    town = Town(PoolSpec(offerings=(OFFERING,), hosts_max=1))
    begun_at = town.now
    for _ in range(4):
        town.submit("run 1000")
    town.run(200)
    sample = of(town)[-1]
    values = sample.values
    assert values["hosts"] == {"ready": 1}
    assert values["jobs"] == {"running": 2, "pending": 2} or values["jobs"] == {"running": 2, "assigned": 2}
    assert values["jobs_complete"]
    waiting = "pending" if "pending" in values["jobs"] else "assigned"
    assert values["job_oldest_s"][waiting] <= sample.at + 60 - begun_at
    assert 100 < values["job_oldest_s"]["running"] <= 200
    assert values["cost_usd_h"] == pytest.approx(price_usd_h(OFFERING))
    assert values["target"]["hosts"] == 1
    assert values["target"]["why"]
    assert values["target"]["variables"].keys() >= {"desired_hosts", "target_hosts"}
    assert values["desired_hosts"] >= 1


def test_launches_are_counted_in_their_minute() -> None:
    """Over the whole life of a pool, each host once."""
    town = Town(PoolSpec(offerings=(OFFERING,), hosts_max=5))
    for _ in range(8):
        town.submit("run 300")
    town.run_until_quiet()
    assert sum(sample.values["hosts_launched"] for sample in of(town)) == len(town.hosts())


def test_the_policys_own_variables_are_there_and_two_whatever_the_policy() -> None:
    """waiting_time publishes W; square_root its jobs; charts of both go on when the policy changes."""
    for policy, own in (("waiting_time", "waiting_time_s"), ("square_root", "desired_jobs"), ("slo", "needed_hosts")):
        town = Town(PoolSpec(offerings=(OFFERING,), hosts_max=1, policy=policy, estimated_s=30.0))
        submit_many(town.plane, [JobSpec(command="run 500", timeout_s=600) for _ in range(20)], "ann")
        town.run(130)
        values = of(town)[-1].values
        assert own in values["target"]["variables"]
        assert values["waiting_time_s"] > 0
        assert values["desired_jobs"] > 0


def test_a_sample_costs_one_write_beside_what_the_sweep_reads() -> None:
    """Hosts and backlog are not read again."""
    town = Town()
    for _ in range(3):
        town.submit("run 500")
    town.run(100)

    class Counted:
        def __init__(self, table: Any) -> None:
            self.table, self.calls = table, Counter[str]()

        def __getattr__(self, name: str) -> Any:
            self.calls[name] += 1
            return getattr(self.table, name)

    stores = town.plane.stores
    parts = {name: Counted(getattr(stores, name)) for name in ("jobs", "hosts", "backlog", "samples", "durations")}
    plane = replace(town.plane, stores=replace(stores, **parts))
    pool = town.stores.registry.pool("default")
    assert pool is not None
    seen = swept(plane, "default")
    before = {name: Counter(part.calls) for name, part in parts.items()}
    samples.keep(plane, pool, seen)
    calls = {name: dict(part.calls - before[name]) for name, part in parts.items()}
    assert calls == {"jobs": {}, "hosts": {}, "backlog": {}, "samples": {"put": 1}, "durations": {}} | (
        {"durations": {"of": 1}} if calls["durations"] else {}  # remembered for half a minute
    )


def test_a_sample_that_cannot_be_kept_harms_nothing_else_of_the_tick() -> None:
    """It is told, and every pool is woken and swept all the same."""

    class Down:
        def __getattr__(self, name: str) -> Any:
            raise StoreUnavailable("throttled")

    town = Town()
    town.plane = replace(town.plane, stores=replace(town.plane.stores, samples=Down()))
    job = town.submit("run 100")
    town.run_until_quiet()
    assert town.job(job.id).state == "succeeded"
    assert any(notice["type"] == "tick_failed" for notice in town.cloud.notices.published)


@contextlib.contextmanager
def printed() -> Iterator[io.StringIO]:
    """With metrics on, what goes to standard output; Lambda takes metrics from there."""
    before = os.environ.pop("POWERTOOLS_METRICS_DISABLED", None)
    try:
        with contextlib.redirect_stdout(io.StringIO()) as out:
            yield out
    finally:
        if before is not None:
            os.environ["POWERTOOLS_METRICS_DISABLED"] = before


def documents(out: io.StringIO) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in out.getvalue().splitlines() if line.startswith("{")]
    return [line for line in lines if "_aws" in line]


def test_metrics_are_one_document_for_each_pool_and_nothing_leaks_between_them() -> None:
    """CloudWatch's embedded format: the pool is a dimension, names are the field's, the numbers the sample's."""
    town = Town()
    town.stores.registry.put_pool("other", PoolSpec(offerings=(OFFERING,), hosts_max=0), version=None)
    town.submit("run 500")
    submit_many(town.plane, [JobSpec(command="run 5", timeout_s=60, pool="other") for _ in range(7)], "ann")
    town.run(100)
    with printed() as out:
        tick.run(town.plane)
    by_pool = {document["pool"]: document for document in documents(out)}
    assert len(documents(out)) == 2
    assert by_pool.keys() == {"default", "other"}
    other = by_pool["other"]
    assert other["JobsPending"] == [7.0]
    assert other["HostsReady"] == [0.0]
    assert other["OldestPendingAge"][0] >= 100
    assert other["WaitingTime"][0] > 0
    assert by_pool["default"]["JobsRunning"] == [1.0]
    assert by_pool["default"]["HostsReady"] == [1.0]
    for document in by_pool.values():
        (directive,) = document["_aws"]["CloudWatchMetrics"]
        assert directive["Namespace"] == "Spillway"
        assert [sorted(dimensions) for dimensions in directive["Dimensions"]] == [["pool", "service"]]
        units = {metric["Name"]: metric["Unit"] for metric in directive["Metrics"]}
        assert units.keys() == {name for name, _, _ in samples.METRICS}
        assert units["WaitingTime"] == units["OldestPendingAge"] == "Seconds"


def test_an_idle_pool_sends_no_metrics() -> None:
    """Each would cost money in each hour."""
    town = Town()
    with printed() as out:
        tick.run(town.plane)
    assert documents(out) == []


def test_the_routes_times_default_to_the_last_hour_and_nonsense_is_refused() -> None:
    """By the field's name: DynamoDB would refuse an empty interval with words of its own."""

    def asked(query: dict[str, str]) -> tuple[float, float]:
        return pool_wire.span(
            wire.query(MultiDict({k: [v] for k, v in query.items()}), pool_wire.SamplesQuery), 10_000.0
        )

    assert asked({}) == (6400.0, 10_000.0)
    assert asked({"since": "5", "until": "7.5", "limit": "1"}) == (5.0, 7.5)
    for query in (
        {"since": "x"},
        {"since": "nan"},
        {"until": "-1"},
        {"since": "9", "until": "8"},
        {"limit": "1e9"},
        {"limit": "0"},
        {"sinze": "5"},
    ):
        with pytest.raises(BadRequest) as refused:
            asked(query)
        assert refused.value.faults[0].field in query
