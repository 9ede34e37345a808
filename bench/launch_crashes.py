"""What a crash at any call of a launching function leaves: the control plane in the world of its tests (tests/control/town.py)."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from chalicelib.control.submit import submit_many
from chalicelib.core import invariants
from chalicelib.core.host import HostState
from chalicelib.core.job_spec import JobSpec
from chalicelib.core.pool import PoolSpec
from chalicelib.errors import CloudUnavailable, LaunchImpossible, Throttled

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "control"))
_town: Any = import_module("town")  # the world in which control code is proven, and what makes its functions die
_fragile: Any = import_module("fragile").fragile
OFFERING = _town.OFFERING
SEED = 4
BATCH = 500


def _plain(town: Any, hosts: int) -> None:
    """Nothing goes wrong but the crash."""


def _quota(town: Any, hosts: int) -> None:
    """A vCPU quota of a third: found by halving; lifted after a minute."""
    town.cloud.compute.quota(OFFERING, hosts // 3)


def _partly(town: Any, hosts: int) -> None:
    """EC2 has two thirds of them."""
    town.cloud.compute.limit(OFFERING, 2 * hosts // 3)


def _throttled(town: Any, hosts: int) -> None:
    """EC2 throttles the first two tries."""
    town.cloud.calls.fail("ec2.RunInstances", Throttled("RequestLimitExceeded: too many"), times=2)


def _unanswered(town: Any, hosts: int) -> None:
    """EC2 launches, and its answer is lost."""
    town.cloud.calls.fail("ec2.RunInstances", CloudUnavailable("no answer"), answer_lost=True)


def _denied(town: Any, hosts: int) -> None:
    """EC2 launches, its answer is lost, and what is sent again is refused: a policy was changed meanwhile."""
    _unanswered(town, hosts)
    town.cloud.calls.fail("ec2.RunInstances", LaunchImpossible("UnauthorizedOperation", "no"), times=2)


SCENARIOS: dict[str, Callable[[Any, int], None]] = {
    "plain": _plain,
    "quota": _quota,
    "partly": _partly,
    "throttled": _throttled,
    "unanswered": _unanswered,
    "denied": _denied,
}


@dataclass(frozen=True)
class Outcome:
    """`calls`: of the control plane until all hosts were launched; `duplicates`, `leaked`: of the whole."""

    calls: int
    duplicates: int
    leaked: int
    broken: tuple[str, ...]


def run(scenario: str, hosts: int, crash_at: int | None = None) -> Outcome:
    """Submit, launch, crash at that call, and let the world go on until it is quiet."""
    spec = PoolSpec(offerings=(OFFERING,), hosts_max=2 * hosts, slots_per_host=1, linger_s=30)
    town = _town.Town(spec, seed=SEED)
    town.watched = False
    SCENARIOS[scenario](town, hosts)
    ids = [
        submitted.job.id
        for first in range(0, hosts, BATCH)
        for submitted in submit_many(
            town.plane, [JobSpec(command="run 30", timeout_s=3000) for _ in range(min(BATCH, hosts - first))], "alice"
        )
    ]
    fuse = _fragile(town)
    fuse.burn_at = set() if crash_at is None else {crash_at}
    for _ in range(90):
        town.run(1)
        if sum(host.instance_id is not None for host in town.hosts()) >= hosts:
            break
        if town.now >= 1_000_060:
            town.cloud.compute.quota(OFFERING, None)
            town.cloud.compute.limit(OFFERING, None)
    calls = fuse.calls
    town.cloud.compute.quota(OFFERING, None)
    town.cloud.compute.limit(OFFERING, None)
    town.run_until_quiet()
    world = town.world()
    doubled = sum(count - 1 for count in town.began.values() if count > 1)
    doubled += sum(count > 1 for count in _began_by_job(town).values())
    doubled += max(0, len(town.cloud.compute.machines) - hosts)
    rows = [host for host in world.hosts if host.state is not HostState.TERMINATED or host.assignments]
    lost = [job for job in world.jobs if job.state != "succeeded"] + [
        i for i in ids if i not in {j.id for j in world.jobs}
    ]
    leaked = len(world.instances) + len(rows) + len(lost) + len(world.backlog)
    return Outcome(calls, doubled, leaked, tuple(invariants.at_rest(world)))


def _began_by_job(town: Any) -> dict[str, int]:
    began: dict[str, int] = {}
    for (job, _), count in town.began.items():
        began[job] = began.get(job, 0) + count
    return began


def measure(few: int, many: int, points: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Every point of every scenario with a few hosts, and sampled points with many."""
    outcomes: list[Outcome] = []
    for name in SCENARIOS:
        calls = run(name, few).calls
        outcomes += _all(name, few, range(1, calls + 1))
        say(f"{name}: {calls} points with {few} hosts")
    if points:
        calls = run("plain", many).calls
        chosen = sorted(random.Random(SEED).sample(range(1, calls + 1), min(points, calls)))
        outcomes += _all("plain", many, chosen)
        say(f"plain: {len(chosen)} of {calls} points with {many} hosts")
    broken = sorted({sentence for outcome in outcomes for sentence in outcome.broken})
    return {
        "crash_points": len(outcomes),
        "crash_points_with_all_hosts": points,
        "duplicates": sum(outcome.duplicates for outcome in outcomes),
        "leaked": sum(outcome.leaked for outcome in outcomes),
        "broken": broken[:10],
    }


def _all(scenario: str, hosts: int, points: Iterable[int]) -> list[Outcome]:
    return [run(scenario, hosts, point) for point in points]
