"""Puts the real parts together, once per process. The only place that knows the real clock, real chance and boto3."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

from chalicelib import config, ids
from chalicelib.cloud.ports import Cloud
from chalicelib.core.story import Line
from chalicelib.recall import Recall
from chalicelib.store.told import ToldStores, told


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """Everything that a use-case may touch: settings, tables, AWS, time, fresh ids; and what this process remembers for some seconds."""

    settings: config.Settings
    stores: ToldStores
    cloud: Cloud
    clock: Callable[[], float] = time.time
    new_id: Callable[[str], str] = ids.new_id
    new_token: Callable[[], str] = ids.new_token
    recall: Recall = field(default_factory=Recall)

    def tell(self, subject: str, event: str, reason: str) -> None:
        """A line in the story of a job, a host or a pool (`story.of_pool(name)`); written at the end of the invocation."""
        self.stores.teller.tell(Line(at=self.clock(), subject=subject, event=event, reason=reason))


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
        stores=told(dynamo_stores(settings, session=session)),
        cloud=aws_cloud(settings, session=session),
    )
