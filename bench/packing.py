"""How well new hosts are filled: the pods of a real cluster packed into hosts of 32 cpu and 128 GiB.

    python -m bench.packing [--json]

The lower bound is what no packing can beat: all cpu, or all memory, divided by a host's. Pods that exceed a host are left out
and counted as refused.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chalicelib.core.backlog import Entry, rank
from chalicelib.core.catalogue import Capacity
from chalicelib.core.host import Offering
from chalicelib.core.placement import CPU_GRAIN, pack

PODS = Path(__file__).parents[2] / "shared/data/jobs/alibaba_openb_pods_2023.csv.gz"
HOST = Capacity(cpu=32.0, memory_mib=131_072, slots=1_000_000)
OFFERING = Offering(region="us-east-1", instance_type="m7i.8xlarge")


def pods(path: Path = PODS) -> list[Entry]:
    """The pods in order of arrival, as jobs."""
    with gzip.open(path, "rt", newline="") as rows:
        return [
            Entry(
                pool="default",
                rank=rank(5, float(row["creation_time"]), row["name"]),
                job=row["name"],
                attempt=1,
                owner="alice",
                cpu=int(row["cpu_milli"]) / 1000,
                memory_mib=int(row["memory_mib"]),
                slots=1,
                timeout_s=600,
                queued_at=float(row["creation_time"]),
            )
            for row in csv.DictReader(rows)
        ]


def lower_bound(entries: Sequence[Entry], size: Capacity = HOST) -> float:
    """Hosts that are needed at least, before rounding up."""
    return max(
        sum(entry.cpu for entry in entries) / size.cpu,
        sum(entry.memory_mib for entry in entries) / size.memory_mib,
        sum(entry.slots for entry in entries) / size.slots,
    )


def plain_best_fit(entries: Sequence[Entry], size: Capacity = HOST) -> int:
    """Hosts that best fit in order of arrival takes; rooms of one remainder are counted together."""
    rooms: dict[tuple[float, int], int] = {}
    hosts = 0
    for entry in entries:
        fitting = [left for left in rooms if entry.cpu <= left[0] + CPU_GRAIN and entry.memory_mib <= left[1]]
        if fitting:
            best = min(fitting, key=lambda left: left[0] / size.cpu + left[1] / size.memory_mib)
            rooms[best] -= 1
            if not rooms[best]:
                del rooms[best]
        else:
            best = (size.cpu, size.memory_mib)
            hosts += 1
        after = (round(best[0] - entry.cpu, 6), best[1] - entry.memory_mib)
        rooms[after] = rooms.get(after, 0) + 1
    return hosts


def measure(entries: Sequence[Entry]) -> dict[str, Any]:
    """The figures; `seconds` is processor time of `pack`."""
    began = time.process_time()
    rooms, refused = pack(entries, [(OFFERING, HOST)], len(entries))
    seconds = time.process_time() - began
    too_large = {entry.job for entry in refused}
    packed = [entry for entry in entries if entry.job not in too_large]
    least = lower_bound(packed)
    return {
        "pods": len(packed),
        "refused": len(refused),
        "lower_bound": math.ceil(least),
        "hosts": len(rooms),
        "ratio": round(len(rooms) / least, 4),
        "plain_best_fit_ratio": round(plain_best_fit(packed) / least, 4),
        "seconds": round(seconds, 3),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.packing", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--json", action="store_true", help="one JSON document instead of sentences")
    as_json: bool = parser.parse_args(arguments).json
    if not PODS.exists():
        print(f"The pods are not there: {PODS}. Put the data folder beside the project, as ../shared/data.")
        return 1
    figures = measure(pods())
    if as_json:
        print(json.dumps(figures))
    else:
        print(
            f"{figures['pods']} pods on {figures['hosts']} hosts of {HOST.cpu:g} cpu and {HOST.memory_mib // 1024} GiB in "
            f"{figures['seconds']} s: {figures['ratio']} × the lower bound of {figures['lower_bound']} "
            f"(plain best fit in order of arrival: {figures['plain_best_fit_ratio']} ×). "
            f"{figures['refused']} pods exceed a host and are left out."
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
