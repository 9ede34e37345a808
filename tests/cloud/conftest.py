"""The worlds as fixtures: `world` in memory and against bare moto, `honest` in memory and against the embedded cloud."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from moto.moto_server.threaded_moto_server import ThreadedMotoServer
from worlds import World, aws_world, memory_world

from localcloud import lifecycle


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    """A bare moto server on a free port."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def embedded_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The whole embedded cloud: its machines really boot, and Run Command knows them only then.

    A process of its own, because moto's state and the bridges into it are one for a whole process.
    """
    state = tmp_path_factory.mktemp("embedded")
    url = lifecycle.up(state, wait_s=60).aws_endpoint_url
    assert url is not None
    yield url
    lifecycle.down(state)


@pytest.fixture(params=["memory", "moto"])
def world(request: pytest.FixtureRequest) -> World:
    """What bare moto does as AWS does."""
    return make(request, request.param)


@pytest.fixture(params=["memory", "embedded"])
def honest(request: pytest.FixtureRequest) -> World:
    """For what moto gets wrong and the embedded cloud puts right: MaxCount, ClientToken, FIFO ids, unknown ids in Run Command."""
    return make(request, request.param)


def make(request: pytest.FixtureRequest, kind: str) -> World:
    if kind == "memory":
        return memory_world()
    return aws_world(kind, request.getfixturevalue(f"{kind}_url"))
