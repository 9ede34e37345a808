"""One cloud for all tests of a file that only ask what EC2 has, shows and costs."""

from collections.abc import Iterator

import pytest
from machine_cloud import MachineCloud
from market_cloud import emptied, market_cloud


@pytest.fixture(scope="module")
def market_of_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MachineCloud]:
    with market_cloud(tmp_path_factory.mktemp("market")) as started:
        yield started


@pytest.fixture
def emptied_market(market_of_file: MachineCloud) -> Iterator[MachineCloud]:
    """Its machines are running at once, and nothing runs on them; no machine and no condition is left for the next test."""
    yield market_of_file
    emptied(market_of_file)
