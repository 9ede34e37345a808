"""The deployed system, once for all end-to-end tests that do not need one of their own."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest
from deployed_once import ELSEWHERE, GRADING, ROOT, Deployed

from spillway.client import Client
from spillway.demo.embedded import Embedded
from spillway.demo.run import dummy_credentials


@pytest.fixture(scope="session")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """Bootstrap and `chalice deploy` for real; nothing may be left when it stops."""
    state = tmp_path_factory.mktemp("deployed")
    before = dict(os.environ)
    dummy_credentials()
    cloud = Embedded(ROOT, state, lambda line: None)
    try:
        packaging = threading.Thread(target=cloud.build_package)
        packaging.start()
        cloud.start()
        packaging.join()
        cloud.aws("s3").create_bucket(Bucket=ELSEWHERE)
        cloud.aws("s3").create_bucket(Bucket=GRADING[0])
        cloud.aws("sqs").create_queue(QueueName=GRADING[1])
        cloud.bootstrap([f"s3://{ELSEWHERE}/shared/", f"s3://{ELSEWHERE}/{{owner}}/"], GRADING)
        deployment = cloud.deploy()
        _restore(before)  # other tests of this session must not meet this cloud
        with Client(deployment.api_url, deployment.token) as client:
            yield Deployed(cloud, deployment, client, state / "cloud")
    finally:
        _restore(before)
        left = cloud.stop()
    assert left == 0


def _restore(environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
