"""The two families of stores, each test with fresh ones. DynamoDB is moto's server; the tables are those of infra/home/template.yaml."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import pytest
from botocore.session import Session, get_session
from cfnlint.decode import cfn_yaml
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from chalicelib.config import Settings
from chalicelib.store.memory import memory_stores
from chalicelib.store.open import DynamoStores, dynamo_stores
from chalicelib.store.ports import Stores
from localcloud.gaps import dynamodb_inserts

TEMPLATE = Path(__file__).parents[2] / "infra" / "home" / "template.yaml"
NOT_OF_CREATE_TABLE = {"TimeToLiveSpecification", "PointInTimeRecoverySpecification", "SSESpecification", "Tags"}
STAGES = itertools.count()
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_EC2_METADATA_DISABLED": "true",
}


def table_definitions(stage: str) -> list[dict[str, Any]]:
    """CreateTable's arguments for each table of the template."""
    resources = cfn_yaml.load(str(TEMPLATE))["Resources"]
    tables = [r["Properties"] for r in resources.values() if r["Type"] == "AWS::DynamoDB::Table"]
    return [
        {name: value for name, value in table.items() if name not in NOT_OF_CREATE_TABLE}
        | {"TableName": table["TableName"]["Fn::Sub"].replace("${Stage}", stage)}
        for table in tables
    ]


class OneAtATime:
    """DynamoDB checks a condition and writes in one step; moto does not, so two threads could both win. One lock makes it one step."""

    def __init__(self) -> None:
        dynamodb_inserts.install()
        self._app, self._lock = DomainDispatcherApplication(create_backend_app), Lock()

    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        with self._lock:
            return list(self._app(environ, start_response))


@pytest.fixture(scope="session")
def moto() -> OneAtATime:
    return OneAtATime()


@pytest.fixture(scope="session")
def aws(moto: OneAtATime) -> Iterator[str]:
    """The URL of moto's server."""
    with serving(moto) as url:
        yield url


@pytest.fixture
def environment(aws: str) -> Iterator[MutableMapping[str, str]]:
    """For one test, the environment leads every AWS client of this process to moto; what it sets there is undone."""
    before = dict(os.environ)
    os.environ.update(ENVIRONMENT, AWS_ENDPOINT_URL=aws)
    yield os.environ
    os.environ.clear()
    os.environ.update(before)


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """`app` (WSGI) on a free port of this machine, and its URL."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = Thread(target=server.serve_forever, name="serving")
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def opened_at(settings: Settings, environment: MutableMapping[str, str]) -> Callable[[str], DynamoStores]:
    """Opens the stage's stores at another endpoint than moto's."""

    def open_at(url: str) -> DynamoStores:
        environment["AWS_ENDPOINT_URL"] = url
        return dynamo_stores(settings)

    return open_at


@pytest.fixture
def behind(opened_at: Callable[[str], DynamoStores]) -> Iterator[Callable[[Any], DynamoStores]]:
    """Opens the stage's stores behind another WSGI application than moto's, for instance one that refuses."""
    with ExitStack() as stack:
        yield lambda app: opened_at(stack.enter_context(serving(app)))


@pytest.fixture(scope="session")
def session() -> Session:
    """One botocore session for all tests: making clients from it is quick."""
    session = get_session()
    session.set_credentials("testing", "testing")
    return session


@pytest.fixture(scope="session")
def dynamodb(session: Session, aws: str) -> Any:
    """A plain client, to look at rows as they are."""
    return session.create_client("dynamodb", "us-east-1", endpoint_url=aws)


@pytest.fixture
def settings(dynamodb: Any) -> Settings:
    """A stage of its own, with empty tables."""
    return a_stage(dynamodb)


@pytest.fixture
def another_stage(dynamodb: Any) -> Settings:
    """One more stage of the same account."""
    return a_stage(dynamodb)


def a_stage(dynamodb: Any) -> Settings:
    settings = Settings(stage=f"t{next(STAGES)}")
    for definition in table_definitions(settings.stage):
        dynamodb.create_table(**definition)
    return settings


@pytest.fixture
def dynamo(settings: Settings, session: Session, environment: MutableMapping[str, str]) -> DynamoStores:
    return dynamo_stores(settings, session=session)


@pytest.fixture(params=["memory", "dynamodb"])
def stores(request: pytest.FixtureRequest) -> Stores:
    return memory_stores() if request.param == "memory" else request.getfixturevalue("dynamo")
