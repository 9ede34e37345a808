"""Writes `chalicelib/core/catalogue_rows.py`: a line for each family of instance types (the format is told in `core/catalogue.py`)."""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from chalicelib.core.catalogue import InstanceType

FILE = Path(__file__).resolve().parents[1] / "chalicelib" / "core" / "catalogue_rows.py"
WIDTH = 138

HEAD = '''"""Instance types by family, written by `spillway offerings refresh` or `python -m bench.catalogue`: do not edit.

Sizes are EC2's own (DescribeInstanceTypes), prices AWS's list prices on demand (Linux, USD an hour), speeds CoreMark per vCPU in
hundredths of c7i's; bench/catalogue.py says from whom. `REGIONS`: whose prices, and of which day. `catalogue.py` reads it.
"""

REGIONS = {{
{regions}
}}
TEXT = """\\
{text}
"""
'''


def render(
    types: Mapping[str, InstanceType],
    regions: Mapping[str, str],
    speeds: Mapping[str, tuple[float, bool]],
) -> str:
    """The module's text. `regions`: region → the day of its prices. `speeds`: family → (speed, whether it was measured); one that is not
    there has none."""
    families: dict[str, dict[str, InstanceType]] = {}
    for name, kind in types.items():
        family, _, size = name.partition(".")
        families.setdefault(family, {})[size] = kind
    lines = [
        _line(family, families[family], tuple(regions), *speeds.get(family, (0.0, False)))
        for family in sorted(families)
    ]
    wrapped = [
        textwrap.fill(line, WIDTH, subsequent_indent=" ", break_long_words=False, break_on_hyphens=False)
        for line in lines
    ]
    named = "\n".join(f'    "{region}": "{day}",' for region, day in regions.items())
    return HEAD.format(regions=named, text="\n".join(wrapped))


def _line(
    family: str, sizes: Mapping[str, InstanceType], regions: tuple[str, ...], speed: float, measured: bool
) -> str:
    kinds = list(sizes.values())
    virtual = [kind for size, kind in sizes.items() if not size.startswith("metal")] or kinds
    threads = int(_commonest(kind.vcpus // kind.cores if kind.cores else 1 for kind in virtual))
    clock = _commonest(kind.clock_ghz for kind in virtual)
    flags = "".join(
        letter
        for letter, is_set in (
            ("b", any(kind.burstable for kind in kinds)),
            ("p", not any(kind.current for kind in kinds)),
            ("o", not any(kind.spot for kind in kinds)),
            ("e", bool(speed) and not measured),
        )
        if is_set
    )
    told = []
    for size, kind in sorted(
        sizes.items(), key=lambda item: (item[0].startswith("metal"), item[1].vcpus, item[1].memory_mib, item[0])
    ):
        usd_h = "/".join(f"{kind.prices[region]:.10g}" if region in kind.prices else "-" for region in regions)
        cores = f":{kind.cores}" if kind.cores != kind.vcpus // threads else ""
        mark = "!" if not kind.spot and "o" not in flags else ""
        told.append(f"{size}{mark}:{kind.vcpus}:{kind.memory_mib / 1024:.10g}:{re.sub('(/-)+$', '', usd_h)}{cores}")
    return " ".join([family, kinds[0].arch, str(threads), f"{clock:g}", str(round(100 * speed)), flags or "-", *told])


def _commonest(values: Iterable[float]) -> float:
    """Of equally common ones the greatest, so that the order of sizes makes no difference."""
    counts = Counter(values)
    return max(counts, key=lambda value: (counts[value], value))
