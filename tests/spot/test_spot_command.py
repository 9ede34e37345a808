"""`spillway spot` from end to end, on a small record of our own making: seeded, whole, and in sentences where something is wrong."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from spillway.cli import app

NAMES = {"ours", "on_demand", "cheapest_now", "max_price_on_demand", "percentile_90", "clairvoyant"}
KEYS = {"cost", "cost_p95", "mean_hours", "deadline_missed", "interruptions"}
REAL = Path(__file__).parents[3] / "shared/data/spot/us-east-1_2015_prateek-s.csv.gz"
DAYS = 12


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve days of two zones that wander between 0.1 and 2 USD an hour, on demand at 1."""
    chance = random.Random(4)
    lines = ["timestamp,availability_zone,instance_type,product,price,on_demand_price"]
    for zone in ("us-east-1a", "us-east-1b"):
        when, usd_h = datetime(2015, 5, 1, tzinfo=UTC), 0.2
        while when < datetime(2015, 5, 1, tzinfo=UTC) + timedelta(days=DAYS):
            lines.append(f"{when:%Y-%m-%dT%H:%M:%SZ},{zone},c3.xlarge,Linux/UNIX,{usd_h:.4f},1.0")
            when += timedelta(seconds=chance.randint(60, 4000))
            usd_h = chance.choice([0.1, 0.12, 0.2, 0.2, 0.4, usd_h, usd_h, 2.0 if chance.random() < 0.3 else 0.15])
    path = tmp_path_factory.mktemp("prices") / "record.csv"
    path.write_text("\n".join(lines))
    return path


def run(*arguments: object) -> tuple[int, Any]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, json.loads(result.stdout) if "--json" in arguments else result.stdout


def backtest(record: Path, *more: object) -> Any:
    code, answer = run(
        "spot",
        "backtest",
        "--history",
        record,
        "--starts",
        12,
        "--job-hours",
        1,
        "--deadline-hours",
        2,
        "--json",
        *more,
    )
    assert code == 0, answer
    return answer


def test_a_backtest_tells_every_strategy_and_nobody_beats_the_clairvoyant(record: Path) -> None:
    answer = backtest(record)
    assert set(answer["strategies"]) == NAMES
    for figures in answer["strategies"].values():
        assert set(figures) >= KEYS
        assert figures["deadline_missed"] == 0
        assert figures["cost"] >= answer["strategies"]["clairvoyant"]["cost"]
    assert answer["strategies"]["on_demand"]["cost"] == pytest.approx(
        12 * 1.05, abs=1e-3
    )  # 12 jobs of a launch and an hour


def test_the_same_seed_is_the_same_backtest_and_another_is_not(record: Path) -> None:
    assert backtest(record, "--seed", 7) == backtest(record, "--seed", 7)
    assert backtest(record, "--seed", 7)["strategies"] != backtest(record, "--seed", 8)["strategies"]


def test_no_start_touches_a_hole_of_the_record(record: Path, tmp_path: Path) -> None:
    """A day without any price is not played: how many draws touched it is told."""
    holed = tmp_path / "holed.csv"
    holed.write_text("\n".join(line for line in record.read_text().splitlines() if not line.startswith("2015-05-10")))
    answer = backtest(holed)
    assert answer["starts"] == 12
    assert answer["starts_drawn_again"] > 0
    assert len(answer["holes_hours"]) == 1
    assert 23 < answer["holes_hours"][0] < 26


@pytest.fixture(scope="module")
def two_regions(record: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prices") / "two.csv"
    path.write_text(record.read_text().replace("us-east-1b", "eu-west-1b"))
    return path


def test_a_job_never_moves_between_regions(two_regions: Path) -> None:
    """A record of two regions is two markets: what is advised of one names its own zones, and its own way for the data."""
    arguments = ("--history", two_regions, "--data-gib", 10, "--home", "eu-west-1", "--json")
    code, answer = run("spot", "advise", *arguments)
    assert code == 0
    assert {row["offering"]: row["transfer_usd"] for row in answer["offerings"]} == {
        "eu-west-1/eu-west-1b/c3.xlarge/spot": 0.0,
        "eu-west-1/*/c3.xlarge/on_demand": 0.0,
        "us-east-1/us-east-1a/c3.xlarge/spot": 0.2,
        "us-east-1/*/c3.xlarge/on_demand": 0.2,
    }
    _, answer = run("spot", "advise", *arguments, "--region", "us-east-1")
    assert {row["offering"].split("/")[0] for row in answer["offerings"]} == {"us-east-1"}
    assert backtest(two_regions)["types"] == ["c3.xlarge in eu-west-1", "c3.xlarge in us-east-1"]


def test_a_record_need_not_be_in_order(record: Path, tmp_path: Path) -> None:
    header, *lines = record.read_text().splitlines()
    (tmp_path / "back.csv").write_text("\n".join([header, *reversed(lines)]))
    assert backtest(tmp_path / "back.csv")["strategies"] == backtest(record)["strategies"]


def test_advice_ranks_all_zones_and_always_names_on_demand(record: Path) -> None:
    code, answer = run("spot", "advise", "--history", record, "--job-hours", 1, "--deadline-hours", 3, "--json")
    assert code == 0
    keys = [row["offering"] for row in answer["offerings"]]
    assert "us-east-1/*/c3.xlarge/on_demand" in keys
    assert {"us-east-1/us-east-1a/c3.xlarge/spot", "us-east-1/us-east-1b/c3.xlarge/spot"} & set(keys)
    costs = [row["expected_cost_usd"] for row in answer["offerings"] if row["in_time"] >= 0.95]
    assert costs == sorted(costs)


def test_a_deadline_without_slack_for_an_interruption_is_advised_on_demand_only(record: Path) -> None:
    """EC2 may reclaim at any time: then nothing is begun on spot that could not be begun again."""
    code, answer = run("spot", "advise", "--history", record, "--job-hours", 1, "--deadline-hours", 1.1, "--json")
    assert code == 0
    assert [row["offering"] for row in answer["offerings"]] == ["us-east-1/*/c3.xlarge/on_demand"]


def test_data_of_another_region_is_paid_for(record: Path) -> None:
    _, here = run("spot", "advise", "--history", record, "--data-gib", 10, "--json")
    _, there = run("spot", "advise", "--history", record, "--data-gib", 10, "--home", "eu-west-1", "--json")
    assert {row["transfer_usd"] for row in here["offerings"]} == {0.0}
    assert {row["transfer_usd"] for row in there["offerings"]} == {0.2}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--type", "x9.huge"], "There is no price of x9.huge: there are prices of c3.xlarge"),
        (["--deadline-hours", "200"], "need"),
        (["--checkpoint-min", "0.7"], "checkpoint_s is 42, and must be a multiple of 30 s"),
        (["--on-demand-price", "c3.xlarge"], "it must be TYPE=USD"),
        (["--on-demand-price", "c3.xlarge=nan"], "it must be TYPE=USD"),
        (["--on-demand-price", "c3.xlarge=-1"], "it must be TYPE=USD"),
        (["--on-demand-price", "c9.xlarge=1"], "there is no spot price of c9.xlarge"),
        (["--deadline-hours", "1"], "take 4.05 h on demand: no strategy can end within 1 h"),
    ],
)
def test_what_cannot_be_played_is_refused_in_a_sentence(record: Path, arguments: list[str], sentence: str) -> None:
    code, answer = run("spot", "backtest", "--history", record, "--json", *arguments)
    assert code == 2
    assert sentence in answer["error"]


def test_a_plot_shows_prices_and_windows(record: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="plots need the extra spillway[plots]")
    backtest(record, "--plot", tmp_path / "plot.svg")
    drawn = (tmp_path / "plot.svg").read_text()
    assert drawn.count("<path") > 20
    assert "<svg" in drawn


def test_a_plot_without_its_library_says_what_to_install(record: Path, tmp_path: Path) -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        code, answer = run(
            "spot",
            "backtest",
            "--history",
            record,
            "--starts",
            1,
            "--job-hours",
            1,
            "--plot",
            tmp_path / "p.png",
            "--json",
        )
        assert (code, "spillway[plots]" in answer["error"]) == (2, True)
    else:
        pytest.skip("matplotlib is installed")


@pytest.mark.skipif(not REAL.exists(), reason=f"the recorded prices of 2015 are not there: {REAL}")
def test_a_slice_of_the_real_backtest_keeps_its_promise() -> None:
    """40 of the 500 starts of `make bench`: at most 1.12 times the clairvoyant, no deadline missed, the references where they belong."""
    code, answer = run("spot", "backtest", "--history", REAL, "--starts", 40, "--json")
    assert code == 0
    figures = answer["strategies"]
    assert figures["ours"]["ratio"] <= 1.12
    assert figures["ours"]["deadline_missed"] == 0
    assert figures["ours"]["cost"] < figures["cheapest_now"]["cost"]
    assert 6 < figures["on_demand"]["ratio"] < 9
