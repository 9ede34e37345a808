"""Puts the real parts together, once per process. The only place that knows the real clock, real chance and boto3."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

from chalicelib import config, ids
from chalicelib.cloud.ports import Cloud
from chalicelib.recall import Recall
from chalicelib.store.ports import Stores


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """Everything that a use-case may touch: settings, tables, AWS, time, fresh ids; and what this process remembers for some seconds."""

    settings: config.Settings
    stores: Stores
    cloud: Cloud
    clock: Callable[[], float] = time.time
    new_id: Callable[[str], str] = ids.new_id
    recall: Recall = field(default_factory=Recall)


@cache
def plane() -> Plane:
    """The plane of this Lambda process."""
    from botocore.session import get_session

    from chalicelib.cloud.aws import aws_cloud
    from chalicelib.store.open import dynamo_stores

    settings = config.from_environment()
    session = get_session()  # one for both: loading its data twice costs a cold start 0.1 s
    return Plane(
        settings=settings,
        stores=dynamo_stores(settings, session=session),
        cloud=aws_cloud(settings, session=session),
    )
