"""How long the whole decision of a pass takes on a very large pool: `reconcile` over 10,000 hosts and 100,000 waiting jobs.

    python -m bench.plan [--json] [--hosts N] [--backlog N]

The snapshot is made up, from a seed: hosts in all states, about half full, of three sizes, in launches of fifty; jobs of forty shapes
from twelve owners, most of them in families (each of one shape) whose files some hosts hold already, one in ten older than five
minutes; durations that were learned.
`seconds` is processor time of `control.decide`, which every pass calls: `core.reconcile` with the garbage collector at rest, the best of
nine runs in a fresh process, as neighbours take their share of such machines; `seconds_collecting` is the same with the collector as
Python has it. `peak_mib` is the most memory that process ever had, interpreter and snapshot included; `snapshot_mib` is what it had
before the first run; `seconds_quarter` is for a quarter of hosts and jobs.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from chalicelib.control.decide import decide
from chalicelib.core.backlog import Entry, rank
from chalicelib.core.catalogue import capacity
from chalicelib.core.durations import ALL, BOOT, Learned, key_of
from chalicelib.core.host import Assignment, Host, HostState, Launch, Offering
from chalicelib.core.instance import Instance
from chalicelib.core.plan import Plan
from chalicelib.core.pool import Pool, PoolSpec
from chalicelib.core.reconcile import reconcile
from chalicelib.core.snapshot import Snapshot

HOSTS, BACKLOG = 10_000, 100_000
NOW = 1_800_000_000.0
RUNS = 9
OFFERINGS = tuple(
    Offering(region="us-east-1", instance_type=name) for name in ("c7i.2xlarge", "m7i.2xlarge", "m7i.4xlarge")
)
OWNERS = tuple(f"course-{number:02d}" for number in range(12))
FAMILIES = tuple(f"exercise-{number:02d}" for number in range(40))
_STATES = (
    [HostState.READY] * 80
    + [HostState.DRAINING] * 6
    + [HostState.LAUNCHING] * 8
    + [HostState.UNHEALTHY] * 2
    + [HostState.TERMINATING] * 2
    + [HostState.TERMINATED] * 2
)


def digest_of(family: str) -> str:
    return f"{family:0>64}"


def a_spec(hosts: int) -> PoolSpec:
    """May grow by a tenth."""
    return PoolSpec(offerings=OFFERINGS, hosts_max=hosts + hosts // 10)


def _shapes(chance: random.Random) -> list[tuple[float, int, int]]:
    return [
        (
            chance.choice((0.25, 0.5, 0.5, 1.0, 1.0, 1.0, 2.0, 4.0)),
            chance.choice((256, 512, 512, 1024, 2048, 4096)) + 64 * chance.randrange(4),
            chance.choice((1, 1, 1, 1, 1, 2)),
        )
        for _ in range(40)
    ]


def a_snapshot(hosts: int, backlog: int, seed: int = 1) -> Snapshot:
    """The made-up pool. The same numbers make the same snapshot."""
    chance = random.Random(seed)
    spec = a_spec(hosts)
    shapes = _shapes(chance)
    rows = tuple(_a_host(number, spec, shapes, chance) for number in range(hosts))
    return Snapshot(
        now=NOW,
        pool=Pool(name="default", spec=spec, pass_no=seed),
        hosts=rows,
        launches=tuple(_a_launch(number) for number in range(hosts // 500)),
        backlog=tuple(
            sorted((_an_entry(number, shapes, chance) for number in range(backlog)), key=lambda entry: entry.rank)
        ),
        listed=tuple(
            Instance(
                id=host.instance_id or "",
                region="us-east-1",
                state="running",
                launched_at=host.launched_at,
                launch_index=host.launch_index,
                tags={"spillway:launch": host.launch},
            )
            for host in rows
            if host.state is not HostState.TERMINATED
        ),
        canary_at=NOW - 20,
        learned=_learned(chance),
    )


def _a_host(number: int, spec: PoolSpec, shapes: list[tuple[float, int, int]], chance: random.Random) -> Host:
    state = chance.choice(_STATES)
    offering = chance.choice(OFFERINGS)
    size = capacity(offering, spec)
    launched_at = NOW - (chance.uniform(5, 60) if state is HostState.LAUNCHING else chance.uniform(300, 40_000))
    assignments: list[Assignment] = []
    cpu, memory_mib, slots = size.cpu, size.memory_mib, size.slots
    idle = state is HostState.TERMINATED or chance.random() < 0.1
    domain = OWNERS[number % len(OWNERS)]  # not by chance: the rest is what it was before hosts had one
    while not idle and chance.random() < 0.8:
        shape = chance.choice(shapes)
        if shape[0] <= cpu and shape[1] <= memory_mib and shape[2] <= slots:
            cpu, memory_mib, slots = cpu - shape[0], memory_mib - shape[1], slots - shape[2]
            assignments.append(
                _an_assignment(f"job-r-{number:05d}-{len(assignments):02d}", domain, shape, launched_at, state, chance)
            )
    return Host(
        id=f"host-{number // 50:06d}-{number % 50}",
        pool="default",
        state=state,
        offering=offering,
        launch=f"launch-{number // 50:06d}",
        launch_index=number % 50,
        cpu=size.cpu,
        memory_mib=size.memory_mib,
        slots=size.slots,
        launched_at=launched_at,
        instance_id=f"i-{number:017x}",
        userid=f"AROABENCH:i-{number:017x}",
        entered_at=launched_at + 40,
        ready_at=None if state is HostState.LAUNCHING else launched_at + 40,
        seen_at=None if state is HostState.LAUNCHING else NOW - chance.uniform(0, 30),
        freed_at=NOW - chance.uniform(0, 120),
        rung_at=NOW - chance.uniform(0, 60),
        retire_sent_at=NOW - 30 if state is HostState.TERMINATING else None,
        recorded_at=launched_at + 2,
        domain=domain if assignments or number % 3 else None,
        holds=frozenset(digest_of(family) for family in chance.sample(FAMILIES, 5)),
        assignments=tuple(assignments),
    )


def _an_assignment(
    job: str, owner: str, shape: tuple[float, int, int], launched_at: float, state: HostState, chance: random.Random
) -> Assignment:
    assigned_at = max(launched_at + 45, NOW - chance.uniform(1, 250))
    begun = state is not HostState.LAUNCHING
    return Assignment(
        job=job,
        attempt=1,
        cpu=shape[0],
        memory_mib=shape[1],
        slots=shape[2],
        timeout_s=600,
        assigned_at=min(assigned_at, NOW),
        inline=not begun,
        accepted_at=assigned_at + 0.5 if begun else None,
        started_at=assigned_at + 1.0 if begun else None,
        family=chance.choice(FAMILIES),
        owner=owner,
    )


def _an_entry(number: int, shapes: list[tuple[float, int, int]], chance: random.Random) -> Entry:
    family = chance.choice(FAMILIES) if chance.random() < 0.7 else ""
    cpu, memory_mib, slots = shapes[FAMILIES.index(family)] if family else chance.choice(shapes)
    queued_at = NOW - (chance.uniform(300, 900) if chance.random() < 0.1 else chance.uniform(0, 300))
    job = f"job-w-{number:06d}"
    return Entry(
        pool="default",
        rank=rank(chance.choice((4, 5, 5, 5)), queued_at, job),
        job=job,
        attempt=1,
        owner=chance.choice(OWNERS),
        cpu=cpu,
        memory_mib=memory_mib,
        slots=slots,
        timeout_s=600,
        queued_at=queued_at,
        family=family,
        needs=(digest_of(family), f"{number:064x}") if family else (),
    )


def _a_launch(number: int) -> Launch:
    return Launch(
        id=f"launch-{number:06d}",
        pool="default",
        offering=OFFERINGS[0],
        hosts=tuple(f"host-{number:06d}-{index}" for index in range(50)),
        user_data=b"",
        created_at=NOW - 20,
        sent_at=NOW - 20,
        recorded=number % 5 != 0,
    )


def _learned(chance: random.Random) -> dict[str, Learned]:
    known = {ALL: Learned(100_000, 3_000_000.0, 200_000_000.0), BOOT: Learned(500, 15_000.0, 500_000.0)}
    for family in FAMILIES:
        mean_s = chance.uniform(2, 120)
        known[key_of(family)] = Learned(1000, 1000 * mean_s, 1300 * mean_s * mean_s)
    return known


def _mib() -> float:
    """The most memory this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def once(hosts: int, backlog: int) -> dict[str, Any]:
    """The figures of one size, measured in this process."""
    s = a_snapshot(hosts, backlog)
    before_mib = _mib()
    times: list[float] = []
    for _ in range(RUNS):
        plan = Plan()  # to throw the last one away is no part of deciding
        began = time.process_time()
        plan = decide(s)
        times.append(time.process_time() - began)
    peak_mib = _mib()
    began = time.process_time()
    reconcile(s)
    collecting_s = time.process_time() - began
    return {
        "seconds": round(min(times), 3),
        "seconds_collecting": round(collecting_s, 3),
        "actions": len(plan.actions),
        "waits": len(plan.waits),
        "snapshot_mib": round(before_mib),
        "peak_mib": round(peak_mib),
    }


def _in_child(hosts: int, backlog: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.plan", "--once", "--hosts", str(hosts), "--backlog", str(backlog)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.plan", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON document instead of sentences")
    parser.add_argument("--hosts", type=int, default=HOSTS)
    parser.add_argument("--backlog", type=int, default=BACKLOG)
    parser.add_argument("--once", action="store_true", help="measure one size, in this process")
    asked = parser.parse_args(arguments)
    if asked.once:
        print(json.dumps(once(asked.hosts, asked.backlog)))
        return 0
    whole = _in_child(asked.hosts, asked.backlog)
    quarter = _in_child(asked.hosts // 4, asked.backlog // 4)
    figures = {
        "hosts": asked.hosts,
        "backlog": asked.backlog,
        **whole,
        "seconds_quarter": quarter["seconds"],
        "ratio": round(whole["seconds"] / max(quarter["seconds"], 1e-3), 2),
    }
    if asked.json:
        print(json.dumps(figures))
    else:
        print(
            f"{asked.hosts} hosts and {asked.backlog} waiting jobs: {figures['seconds']} s for {figures['actions']} actions and "
            f"{figures['waits']} sentences about those who wait; {figures['ratio']} × the {figures['seconds_quarter']} s of a "
            f"quarter of it. At most {figures['peak_mib']} MiB, of which the snapshot and Python are {figures['snapshot_mib']}."
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
