"""What the spot broker's decisions cost on half a year of real prices, against simpler ones and a clairvoyant.

    python -m bench.spot [--json] [--starts N] [--only 4/8]

The world and the figures are those of `spillway spot backtest` (chalicelib/core/spot_world.py, spot_backtest.py), for jobs of 4, 1 and 12
hours with a deadline of twice and of 1.25 times as long. Starts are also told apart by halves of the record (until
5 June, and from then on).
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chalicelib.cloud.price_files import read
from chalicelib.core.spot_backtest import NAMES, Case, cases, drawn_starts, figures
from chalicelib.core.spot_history import Market, holes, markets
from chalicelib.core.spot_world import Terms

RECORD = Path(__file__).parents[2] / "shared/data/spot/us-east-1_2015_prateek-s.csv.gz"
TERMS = {"4/8": (4, 8), "1/2": (1, 2), "12/24": (12, 24), "4/5": (4, 5), "1/1.25": (1, 1.25), "12/15": (12, 15)}
HALVES_AT = 1_433_462_400.0  # 2015-06-05T00:00:00Z


def measure(
    found: dict[str, Market], broken: list[tuple[float, float]], terms: Terms, starts: int, seed: int
) -> dict[str, Any]:
    """The figures of one kind of job: over all starts, by type, by halves of the record, and for each strategy."""
    began = time.process_time()
    played: list[Case] = []
    for kind, market in found.items():
        begins, _ = drawn_starts(market, terms, broken, starts // len(found), random.Random(f"{seed}/{kind}").random)
        played += cases(market, terms, begins)
    ratios = {"all": figures(played)}
    ratios |= {kind: figures([case for case in played if case.instance_type == kind]) for kind in found}
    first = [case for case in played if case.begin < HALVES_AT]
    second = [case for case in played if case.begin >= HALVES_AT]
    ratios |= {name: figures(part) for name, part in (("first half", first), ("second half", second)) if part}
    return {"starts": len(played), "processor_s": round(time.process_time() - began, 1), "by": ratios}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.spot", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--json", action="store_true", help="one JSON document instead of tables")
    parser.add_argument(
        "--starts", type=int, default=500, help="jobs of each kind, shared out evenly between the types"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=sorted(TERMS), action="append", help="only this kind of job: hours/deadline")
    options = parser.parse_args(arguments)
    if not RECORD.exists():
        print(f"The prices are not there: {RECORD}. Put the data folder beside the project, as ../shared/data.")
        return 1
    changes = read(RECORD)
    found, broken = markets(changes), holes(changes)
    out = {}
    for name in options.only or TERMS:
        hours, deadline = TERMS[name]
        terms = Terms(work_s=hours * 3600, deadline_s=round(deadline * 3600))
        out[name] = measure(found, broken, terms, options.starts, options.seed)
        if not options.json:
            _tell(name, out[name])
    if options.json:
        print(json.dumps(out))
    return 0


def _tell(name: str, result: dict[str, Any]) -> None:
    print(
        f"{name} h: {result['starts']} jobs, {result['processor_s']} s. Cost by the clairvoyant's; p95 of a job in USD; …"
    )
    columns = list(result["by"])
    print(
        f"  {'':20}"
        + "".join(f"{column:>12}" for column in columns)
        + f"{'p95':>9}{'hours':>7}{'missed':>7}{'lost':>6}"
    )
    for strategy in NAMES:
        ratios = "".join(f"{result['by'][column][strategy]['ratio']:12.3f}" for column in columns)
        total = result["by"]["all"][strategy]
        rest = (
            f"{total['cost_p95']:9.3f}{total['mean_hours']:7.2f}{total['deadline_missed']:7}{total['interruptions']:6}"
        )
        print(f"  {strategy:20}{ratios}{rest}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
