"""The worlds as fixtures. `world`: all three. `honest`: those whose EC2, SQS and Run Command keep AWS's own promises."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from moto.moto_server.threaded_moto_server import ThreadedMotoServer
from worlds import World, aws_world, memory_world


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    """A bare moto server on a free port."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def front_url() -> Iterator[str]:
    """The embedded cloud's front with the gaps that matter here bridged."""
    front_module = pytest.importorskip("localcloud.front", reason="the embedded cloud's front is not there")
    gap = pytest.importorskip("localcloud.gaps.ec2_run_instances", reason="the embedded cloud's EC2 is not there")
    from localcloud.identity import Identities

    front = front_module.Front(Identities())
    gap.RunInstances(front, launched=lambda instances, region: None)
    front.start()
    yield front.url
    front.stop()


@pytest.fixture(params=["memory", "moto", "embedded"])
def world(request: pytest.FixtureRequest) -> World:
    return make(request, request.param)


@pytest.fixture(params=["memory", "embedded"])
def honest(request: pytest.FixtureRequest) -> World:
    """Not bare moto: its RunInstances ignores MaxCount and ClientToken."""
    return make(request, request.param)


def make(request: pytest.FixtureRequest, kind: str) -> World:
    if kind == "memory":
        return memory_world()
    return aws_world(kind, request.getfixturevalue("moto_url" if kind == "moto" else "front_url"))
