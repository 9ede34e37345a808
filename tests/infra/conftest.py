"""Templates as plain data, an AWS of moto's on a free port, and a project to bootstrap."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from cfnlint.decode import cfn_yaml
from moto.server import ThreadedMotoServer

ROOT = Path(__file__).parents[2]


def template(name: str) -> dict[str, Any]:
    """infra/<name>/template.yaml with intrinsic functions as `{"Ref": …}`, `{"Fn::Sub": …}`."""
    document: dict[str, Any] = cfn_yaml.load(str(ROOT / "infra" / name / "template.yaml"))
    return document


@pytest.fixture(scope="session")
def home() -> dict[str, Any]:
    return template("home")


@pytest.fixture(scope="session")
def region() -> dict[str, Any]:
    return template("region")


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of an empty AWS; credentials and region are in the environment, as they would be for a person."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    urlopen(Request(f"http://{host}:{port}/moto-api/reset", method="POST")).close()  # moto keeps one state a process
    for name, value in {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_CONFIG_FILE": "/nonexistent",
        "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
    }.items():
        monkeypatch.setenv(name, value)
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """What bootstrap needs of a checkout."""
    shutil.copytree(ROOT / "policies", tmp_path / "policies")
    (tmp_path / ".chalice").mkdir()
    shutil.copyfile(ROOT / ".chalice" / "config.json", tmp_path / ".chalice" / "config.json")
    return tmp_path
