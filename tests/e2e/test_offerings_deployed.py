"""The advisor's commands against EC2 and a stage: spot prices now, a refreshed list, a type that the release does not know."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from deployed_once import ROOT, Deployed
from price_rows import HEADS, changed

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(deployed: Deployed, tmp_path: Path) -> Run:
    """`spillway …` with an operator's credentials for the embedded cloud."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("SPILLWAY_", "AWS_"))}
    environment = clean | {
        "SPILLWAY_LOCAL_STATE": str(deployed.state),
        "PYTHONPATH": str(ROOT),
        "AWS_ENDPOINT_URL": deployed.cloud.aws("ec2").meta.endpoint_url,
        "AWS_ACCESS_KEY_ID": "operator",
        "AWS_SECRET_ACCESS_KEY": "operator",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }

    def call(*args: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "spillway", *args]
        return subprocess.run(command, capture_output=True, text=True, timeout=240, cwd=tmp_path, env=environment)

    return call


def test_spot_is_ranked_by_what_it_costs_now(run: Run) -> None:
    done = run("offerings", "--market", "spot", "--family", "c7i", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["market"] == "spot"
    assert found["items"]
    assert all(item["usd_h"] < 100 for item in found["items"])


def test_a_refreshed_list_has_the_regions_prices(run: Run, tmp_path: Path) -> None:
    bulk = tmp_path / "index.csv"
    bulk.write_text(
        "".join(",".join(f'"{cell}"' for cell in row) + "\n" for row in (HEADS, changed(PricePerUnit="0.123")))
    )
    done = run(
        "offerings", "refresh", "--region", "eu-west-1", "--price-list", str(bulk), "--out", str(tmp_path / "rows.py")
    )
    assert done.returncode == 0, done.stderr
    assert "prices of us-east-1, eu-west-1" in done.stdout
    assert "large:2:4:0.08925/0.123" in (tmp_path / "rows.py").read_text()


def test_a_type_that_is_added_may_be_named_by_a_pool(run: Run, deployed: Deployed) -> None:
    """The stage is told what EC2 says of it; its price is the operator's word, since here is no price list."""
    try:
        done = run("offerings", "add", "m4.large", "--price", "0.777", "--json")
        assert done.returncode == 0, done.stderr
        told = {"vcpus": 2, "memory_mib": 8192, "price_usd_h": 0.777}  # x86_64 goes without saying
        assert deployed.client.settings()["settings"]["types"] == {"m4.large": told}
        assert deployed.client.put_pool("older", {"hosts_max": 0}).document["types"] == {"m4.large": told}
        assert "x9.huge" in run("offerings", "add", "x9.huge", "--price", "1").stderr
    finally:
        deployed.client.patch_settings({"types": {"m4.large": None}})
    assert deployed.client.settings()["settings"].get("types", {}) == {}
