"""Writes the shipped catalogue of instance types from public facts, and compares it with them.

    python -m bench.catalogue [--write] [--json]

Where the figures come from. Sizes, architecture, clock and physical cores: EC2's own DescribeInstanceTypes, as moto ships it (Apache-2.0).
Prices: AWS's price list for us-east-1, as Karpenter and moto ship it (Apache-2.0). Core speed: CoreMark runs on all vCPUs by Vantage's
ec2instances.info (MIT), of which one number is kept for each family: the median, over its sizes, of iterations a second and vCPU, relative
to that of c7i. No file of theirs is copied; on an operator's machine `spillway offerings refresh` asks EC2 itself instead.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import re
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

from chalicelib.core.catalogue import TYPES, InstanceType
from infra.catalogue_file import FILE, render

SOURCES = Path(__file__).parents[2] / "shared/data/ec2_catalog"
PRICES = SOURCES / "ec2_us-east-1_2026_price_vcpu_mem.csv.gz"
COREMARK = SOURCES / "vantage_benchmarks_2026.json.gz"
REGION = "us-east-1"
ACCELERATORS = ("GpuInfo", "FpgaInfo", "InferenceAcceleratorInfo", "NeuronInfo", "MediaAcceleratorInfo")
REFERENCE = "c7i"
_KIN = re.compile(r"([a-z]+?)(\d+)([aig]?)")  # c6id and c6in run c6i's processor; m5dn runs m5's


def described() -> dict[str, dict[str, Any]]:
    """DescribeInstanceTypes of 2026, by name."""
    import moto.ec2

    file = Path(moto.ec2.__file__).parent / "resources" / "instance_types.json.gz"
    with gzip.open(file) as text:
        found: dict[str, dict[str, Any]] = json.load(text)
    return found


def facts() -> tuple[str, dict[str, InstanceType]]:
    """The day of the prices, and every type without an accelerator that has a price. FileNotFoundError where the sources are not there."""
    with gzip.open(PRICES, "rt", newline="") as lines:
        rows = {row["instance_type"]: row for row in csv.DictReader(lines)}
    day = next(iter(rows.values()))["price_generated_at"][:10]
    known = described()
    types: dict[str, InstanceType] = {}
    for name in sorted(rows):
        told = known.get(name)
        if told is None or any(kind in told for kind in ACCELERATORS):
            continue
        archs = [arch for arch in told["ProcessorInfo"]["SupportedArchitectures"] if arch in ("x86_64", "arm64")]
        if not archs or not rows[name]["linux_ondemand_usd_hr"]:
            continue
        price = float(rows[name]["linux_ondemand_usd_hr"])
        types[name] = InstanceType(
            vcpus=told["VCpuInfo"]["DefaultVCpus"],
            memory_mib=told["MemoryInfo"]["SizeInMiB"],
            price_usd_h=price,
            arch=archs[0],
            cores=told["VCpuInfo"].get("DefaultCores", 0),
            clock_ghz=told["ProcessorInfo"].get("SustainedClockSpeedInGhz", 0.0),
            burstable=told["BurstablePerformanceSupported"],
            current=told["CurrentGeneration"],
            spot="spot" in told["SupportedUsageClasses"],
            prices={REGION: price},
        )
    return day, types


def speeds(types: dict[str, InstanceType]) -> dict[str, tuple[float, bool]]:
    """Family → (speed of a vCPU relative to the reference's, whether it was measured)."""
    with gzip.open(COREMARK) as text:
        runs = json.load(text)
    measured: dict[str, list[float]] = defaultdict(list)
    kin: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for name, kind in types.items():
        family, _, size = name.partition(".")
        if (run := runs.get(name, {}).get("coremark")) and not size.startswith("metal"):
            each = run["iterations_second"] / kind.vcpus
            measured[family].append(each)
            kin[_processor(family)].append(each)
    reference = statistics.median(measured[REFERENCE])
    found = {}
    for family in {name.partition(".")[0] for name in types}:
        runs_of = measured.get(family) or kin.get(_processor(family), [])
        speed = round(statistics.median(runs_of) / reference, 2) if runs_of else 0.0
        found[family] = (speed, family in measured)
    return found


def _processor(family: str) -> tuple[str, ...]:
    """Families that share one have the same: kind, generation, and the maker's letter."""
    found = _KIN.match(family)
    return found.groups() if found and not family.endswith("zn") and "z" not in family else (family,)


def main() -> None:
    """Compare, or write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--write", action="store_true", help="write the catalogue that the release ships")
    parser.add_argument("--json", action="store_true", dest="as_json")
    asked = parser.parse_args()
    if not PRICES.exists():
        raise SystemExit(f"There are no sources in {SOURCES}.")
    day, types = facts()
    text = render(types, {REGION: day}, speeds(types))
    if asked.write:
        FILE.write_text(text)
    shipped = FILE.read_text()
    differ = [name for name, kind in types.items() if name not in TYPES or _figures(TYPES[name]) != _figures(kind)]
    answer = {
        "types": len(types),
        "families": len({name.partition(".")[0] for name in types}),
        "bytes": len(shipped.encode()),
        "as_of": day,
        "differ": [] if asked.write else differ,
    }
    print(json.dumps(answer) if asked.as_json else "\n".join(f"{key}: {value}" for key, value in answer.items()))


def _figures(kind: InstanceType) -> tuple[Any, ...]:
    return (
        kind.vcpus,
        kind.cores,
        kind.memory_mib,
        kind.arch,
        kind.price_usd_h,
        kind.burstable,
        kind.current,
        kind.spot,
    )


if __name__ == "__main__":
    main()
