"""The figure for launches (`python -m bench.launch`): a seeded slice of its crash half. The whole of it runs by hand, or `make bench`."""

from __future__ import annotations

import random

import pytest

from bench import launch_crashes


@pytest.mark.parametrize("scenario", sorted(launch_crashes.SCENARIOS))
def test_a_crash_while_hosts_are_launched_doubles_and_leaks_nothing(scenario: str) -> None:
    """Twelve places of each scenario, another dozen for another seed."""
    calls = launch_crashes.run(scenario, 6).calls
    for point in random.Random(9).sample(range(1, calls + 1), 12):
        outcome = launch_crashes.run(scenario, 6, point)
        assert (outcome.duplicates, outcome.leaked, outcome.broken) == (0, 0, ()), f"crash at call {point}"
