"""The project's root on the path, however pytest was started; one moto server and one built agent for all tests."""

import logging
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parent))


@pytest.fixture(scope="session")
def agent_aws_url():
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def built_agent(tmp_path_factory):
    from agent.build import build

    return build(tmp_path_factory.mktemp("agent"))


@pytest.fixture
def machine(agent_aws_url, built_agent, tmp_path):
    """`machine(settings=..., assignments=...)` makes one; all are ended with the test."""
    from agent_machine import Machine

    made = []

    def make(**options):
        one = Machine(agent_aws_url, built_agent, tmp_path / f"root{len(made)}", **options)
        made.append(one)
        return one

    yield make
    for one in made:
        one.close()


@pytest.fixture
def sandboxed():
    """For tests that need a real sandbox."""
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed: what only a sandbox can hold is not tested here")
