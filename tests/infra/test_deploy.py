"""`chalice deploy` for real, against the embedded cloud: the package it uploads is ours, and the deployed functions answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import boto3
import pytest

from infra import client_file
from infra.bootstrap import Bootstrapped, bootstrap
from infra.deploy import Deployed, deploy
from infra.errors import InfraError
from infra.project import stage_project
from infra.stage import FUNCTIONS
from localcloud import lifecycle

ROOT = Path(__file__).parents[2]
START_WAIT_S = 60

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The embedded cloud's URL, which is in the environment too, as a person would export it."""
    state = tmp_path_factory.mktemp("cloud")
    process = subprocess.Popen(
        [sys.executable, "-m", "localcloud", "--state", str(state)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    context = pytest.MonkeyPatch()
    try:
        for _ in range(START_WAIT_S * 10):
            if (found := lifecycle.status(state)).running or process.poll() is not None:
                break
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.1)
        assert found.aws_endpoint_url, "the embedded cloud did not start"
        for name, value in {
            "AWS_ENDPOINT_URL": found.aws_endpoint_url,
            "AWS_ACCESS_KEY_ID": "developer",
            "AWS_SECRET_ACCESS_KEY": "developer",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": "/nonexistent",
            "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
        }.items():
            context.setenv(name, value)
        yield found.aws_endpoint_url
    finally:
        context.undo()
        process.terminate()
        process.wait(60)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    stage_project(ROOT, folder)
    return folder


@pytest.fixture(scope="module")
def bootstrapped(cloud: str, project: Path) -> Bootstrapped:
    with pytest.raises(InfraError, match="spillway bootstrap --stage dev"):
        deploy("dev", project, "us-east-1")
    return bootstrap("dev", "us-east-1", project)


@pytest.fixture(scope="module")
def deployed(bootstrapped: Bootstrapped, project: Path) -> Deployed:
    return deploy("dev", project, "us-east-1")


def test_every_function_is_deployed_from_our_package_with_its_own_role(
    deployed: Deployed, bootstrapped: Bootstrapped
) -> None:
    """Chalice reused what the packaging step built; memory, timeout and environment are as configured."""
    settings = json.loads((ROOT / ".chalice" / "config.json").read_text())["lambda_functions"]
    client = boto3.client("lambda")
    hashes = set()
    for function in FUNCTIONS:
        name = "spillway-dev" if function == "api_handler" else f"spillway-dev-{function}"
        found = client.get_function_configuration(FunctionName=name)
        hashes.add(found["CodeSha256"])
        assert found["CodeSize"] == deployed.package_bytes
        assert found["Role"].endswith(f":role/spillway-dev-{function}")
        assert (found["MemorySize"], found["Timeout"]) == (
            settings[function]["lambda_memory_size"],
            settings[function]["lambda_timeout"],
        )
        assert {
            k: v for k, v in found["Environment"]["Variables"].items() if k in bootstrapped.environment
        } == bootstrapped.environment
    assert len(hashes) == 1
    assert deployed.package_bytes < 8_000_000


def test_the_deployed_functions_answer_and_may_do_what_they_must(
    deployed: Deployed, bootstrapped: Bootstrapped, cloud: str
) -> None:
    """The policies are enforced: the authorizer reads its token, the API its tables and queues, through the roles that Chalice made."""
    api = json.loads(urlopen(f"{cloud}/_status").read())["api_url"]
    assert get(f"{api}/healthz", None)["ok"] is True
    assert [p["name"] for p in get(f"{api}/pools", bootstrapped.token)["items"]] == ["default"]


def get(url: str, token: str | None) -> Any:
    return json.loads(urlopen(Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})).read())


def test_the_client_learns_the_url_and_the_checkout_stays_clean(deployed: Deployed, project: Path) -> None:
    """What deploying writes, it writes into the staged copy; nothing it runs leaves bytecode there."""
    assert client_file.read(project, "dev")["api_url"] == deployed.api_url
    assert not (ROOT / ".chalice" / "deployed").exists() or "dev.json" not in os.listdir(ROOT / ".chalice" / "deployed")
    assert not list((project / "chalicelib").rglob("__pycache__"))


def test_deploying_again_is_an_update(deployed: Deployed, project: Path) -> None:
    """The same package, the same API."""
    again = deploy("dev", project, "us-east-1")
    assert again.api_url == deployed.api_url
    assert again.package_bytes == deployed.package_bytes


def test_chalices_own_words_are_told_when_it_fails(deployed: Deployed, project: Path, tmp_path: Path) -> None:
    """An app that does not import: the last line says why."""
    broken = tmp_path / "broken"
    stage_project(ROOT, broken)
    (broken / ".chalice" / "config.json").write_text((project / ".chalice" / "config.json").read_text())
    (broken / "app.py").write_text("raise RuntimeError('no such luck')\n")
    with pytest.raises(InfraError, match="no such luck"):
        deploy("dev", broken, "us-east-1")


def test_passes_may_wake_passes(deployed: Deployed) -> None:
    """Lambda would stop the loop of pass and timer after 16 rounds; deploying allows it by name."""
    setting = boto3.client("lambda").get_function_recursion_config(FunctionName="spillway-dev-wakes")
    assert setting["RecursiveLoop"] == "Allow"
