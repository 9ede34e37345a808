"""Launches on a cloud whose machines are only recorded, for tests of what EC2 has and what it costs."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from machine_cloud import IMAGE, MachineCloud, machine_cloud


@contextmanager
def market_cloud(folder: Path) -> Iterator[MachineCloud]:
    """A started cloud; its machines are running at once, and nothing runs on them."""
    with machine_cloud(folder, isolation="none", boot_s=0.0, boots="silent") as started:
        yield started


def emptied(cloud: MachineCloud) -> None:
    """No machine and no condition is left for the next test."""
    cloud.faults.clear()
    if left := cloud.fleet.alive():
        cloud.ec2.terminate_instances(InstanceIds=left)


def spot(max_price: str | None = None) -> dict[str, Any]:
    options = {"SpotInstanceType": "one-time"} | ({"MaxPrice": max_price} if max_price else {})
    return {"InstanceMarketOptions": {"MarketType": "spot", "SpotOptions": options}}


def launch(cloud: MachineCloud, count: int = 1, zone: str | None = None, **more: Any) -> list[dict[str, Any]]:
    arguments = {"ImageId": IMAGE, "InstanceType": "c5.large", "MinCount": 1, "MaxCount": count, **more}
    if zone:
        arguments["Placement"] = {"AvailabilityZone": zone}
    return list(cloud.ec2.run_instances(**arguments)["Instances"])


def refused(cloud: MachineCloud, **arguments: Any) -> str:
    with pytest.raises(ClientError) as error:
        launch(cloud, **arguments)
    return str(error.value.response["Error"]["Code"])
