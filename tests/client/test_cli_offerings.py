"""`spillway offerings` as it is typed: the catalogue of this checkout, without a stage and without AWS."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "cli.md").read_text()
SHOWN = re.findall(r"^    spillway (offerings(?: --[^#\n]*)?)", DOCUMENT, re.MULTILINE)
OFFLINE = [line.strip() for line in SHOWN if "spot" not in line and " add" not in line]


def test_the_page_shows_commands_that_need_no_cloud() -> None:
    assert len(OFFLINE) >= 2


@pytest.mark.parametrize("line", OFFLINE)
def test_what_the_page_shows_can_be_run_as_it_is(run: Any, line: str) -> None:
    done = run(*shlex.split(line))
    assert done.code == 0
    assert done.out.startswith("Linux on demand, 20")
    assert "slots: vCPUs + 1" in done.out
    assert len(done.out.splitlines()) > 10


def test_the_cheapest_slot_is_first_and_json_has_all_figures(run: Any) -> None:
    found = run("offerings", "--arch", "x86_64", "--memory", "2048", "--limit", "3", "--json").json()
    prices = [item["usd_slot_h"] for item in found["items"]]
    assert prices == sorted(prices)
    assert len(prices) == 3
    first = found["items"][0]
    assert first["usd_slot_h"] == pytest.approx(first["usd_h"] / first["slots"], rel=1e-4)
    assert (found["price_region"], found["market"], found["slots_per_host"]) == ("us-east-1", "on_demand", "vCPUs + 1")


def test_a_pools_own_slots_are_shown_when_asked_for(run: Any) -> None:
    done = run("offerings", "--family", "c7i", "--pool-slots", "--limit", "1")
    assert "slots: vCPUs," in done.out.splitlines()[0]
    assert done.out.splitlines()[2].split("\t")[6] == "2"


def test_whose_prices_they_are_is_said_where_they_are_not_the_regions(run: Any) -> None:
    done = run("offerings", "--region", "eu-west-1")
    assert "The catalogue has no prices of eu-west-1: these are us-east-1's" in done.out
    assert "spillway offerings refresh --region eu-west-1" in done.out


def test_a_region_that_is_not_there_is_refused(run: Any) -> None:
    """Another region's prices would look as if there were such a region."""
    done = run("offerings", "--region", "us-east-1a")
    assert done.code != 0
    assert "--region: 'us-east-1a' is a zone: its region is us-east-1" in done.err


def test_nothing_that_does_is_said_in_a_sentence(run: Any) -> None:
    assert "No type does all that was asked for." in run("offerings", "--memory", "99999999").out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--by", "colour"], "--by: 'colour' should be one of price, speed, work."),
        (["--arch", "vax"], "--arch: 'vax' should be one of x86_64, arm64."),
        (["--market", "bazaar"], "--market: 'bazaar' should be one of on_demand, spot."),
        (["add", "c7i.large", "m7i.large", "--price", "1"], "--price is the price of one type"),
    ],
)
def test_what_cannot_be_asked_is_told_by_its_option(run: Any, words: list[str], sentence: str) -> None:
    done = run("offerings", *words)
    assert done.code == 2
    assert sentence in done.err
