"""What tests of settings share: another writer in just that moment, and what a pool's row and story say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from town import Crash, Town

from chalicelib.core.pool import Pool

HERE = {"offerings": [{"region": "us-east-1", "instance_type": "c7i.large"}]}


class Meddled:
    """A table whose method `name` does something else first: what another writer does in just that moment."""

    def __init__(self, table: Any, name: str, meanwhile: Callable[[], Any], times: int = 1) -> None:
        self._table, self._name, self._meanwhile, self._times = table, name, meanwhile, times

    def __getattr__(self, name: str) -> Any:
        if name == self._name and self._times > 0:
            self._times -= 1
            self._meanwhile()
        return getattr(self._table, name)


def meddled(town: Town, name: str, meanwhile: Callable[[], Any], times: int = 1) -> Any:
    """The town's plane, where something happens just before a call of the registry."""
    registry = Meddled(town.stores.registry, name, meanwhile, times)
    return replace(town.plane, stores=replace(town.stores, registry=registry))


def crash() -> None:
    raise Crash


def a_pool(town: Town, name: str = "default") -> Pool:
    pool = town.stores.registry.pool(name)
    assert pool is not None
    return pool


def story(town: Town, subject: str = "pool/default") -> list[str]:
    return [line.reason for line in town.stores.story.of(subject)]


def wakes(town: Town) -> int:
    return len(town.cloud.queues.wakes.receive(town.now, 10))
