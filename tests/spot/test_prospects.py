"""What spot offerings are expected to cost over the next hour: half what they cost now, half what the past makes of it."""

from __future__ import annotations

import pytest

from chalicelib.core.host import Offering
from chalicelib.core.spot_history import Change
from chalicelib.core.spot_prospects import prospects

NOW = 1_700_000_000.0
HOUR = 3600.0
SPOT = Offering(region="us-east-1", instance_type="c7i.large", market="spot")
A, B = (Offering(region="us-east-1", instance_type="c7i.large", market="spot", zone=f"us-east-1{z}") for z in "ab")


def told(zone: str, *changes: tuple[float, float]) -> list[Change]:
    """(hours before now, USD an hour)."""
    return [Change(NOW - hours * HOUR, zone, "c7i.large", usd_h) for hours, usd_h in changes]


def test_a_steady_price_is_expected_to_stay_and_without_a_zone_the_mean_is() -> None:
    changes = told("us-east-1a", (400, 0.03)) + told("us-east-1b", (400, 0.05))
    found = prospects(changes, [A, B, SPOT, Offering(region="us-east-1", instance_type="c7i.large")], NOW)
    assert found == {A.key: pytest.approx(0.03), B.key: pytest.approx(0.05), SPOT.key: pytest.approx(0.04)}


def test_a_spike_that_the_past_says_is_soon_over_counts_half() -> None:
    """Ten minutes of 0.9 every six hours: the next hour is dearer than ever, but not 0.9."""
    spikes = [(hours + over, usd_h) for hours in range(6, 330, 6) for over, usd_h in ((0.0, 0.9), (-1 / 6, 0.03))]
    changes = told("us-east-1a", (336, 0.03), *spikes, (0, 0.9)) + told("us-east-1b", (400, 0.2))
    found = prospects(changes, [A, B], NOW)
    assert 0.45 < found[A.key] < 0.7
    assert found[B.key] == pytest.approx(0.2)


def test_where_the_past_is_too_short_or_nothing_was_told() -> None:
    assert prospects(told("us-east-1a", (0.1, 0.03)), [A, B], NOW) == {A.key: 0.03}
    assert prospects([], [A], NOW) == {}
