"""Pools and the stage's defaults of them, who is looking, tokens and settings in memory."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from threading import Lock
from typing import Any

from chalicelib.core.calendar import Booking
from chalicelib.core.pool import Pool, PoolSpec, Prospects
from chalicelib.core.settings import Defaults
from chalicelib.store.ports import PASS_FACTS, Token, only


class MemoryRegistry:
    """`ports.Registry`: pools, defaults, lookers, tokens, settings."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._pools: dict[str, Pool] = {}
        self._tokens: dict[str, Token] = {}
        self._uses: dict[str, float] = {}
        self._settings: dict[str, Any] = {}
        self._defaults = Defaults()
        self._looking: dict[str, dict[str, float]] = {}

    def pools(self) -> list[Pool]:
        with self._lock:
            return [self._pools[name] for name in sorted(self._pools)]

    def pool(self, name: str) -> Pool | None:
        with self._lock:
            return self._pools.get(name)

    def put_pool(
        self,
        name: str,
        spec: PoolSpec,
        *,
        version: int | None,
        settings: Mapping[str, Any] | None = None,
        defaults_version: int = 0,
    ) -> Pool | None:
        with self._lock:
            row = self._pools.get(name)
            if (row.version if row else None) != version:
                return None
            self._pools[name] = replace(
                row or Pool(name=name, spec=spec, version=0),
                spec=spec,
                version=(version or 0) + 1,
                settings=None if settings is None else deepcopy(dict(settings)),
                defaults_version=defaults_version,
            )
            return self._pools[name]

    def put_calendar(self, name: str, calendar: Sequence[Booking], *, version: int) -> Pool | None:
        with self._lock:
            row = self._pools.get(name)
            if row is None or row.version != version:
                return None
            self._pools[name] = replace(row, calendar=tuple(calendar), version=version + 1)
            return self._pools[name]

    def note_interest(self, name: str, people: int) -> None:
        with self._lock:
            if (row := self._pools.get(name)) is not None:
                self._pools[name] = replace(row, interest=people)

    def note_prospects(self, name: str, prospects: Prospects) -> None:
        with self._lock:
            if (row := self._pools.get(name)) is not None:
                self._pools[name] = replace(row, prospects=deepcopy(prospects))

    def looking(self, pool: str, viewer: str, expires_at: float) -> None:
        with self._lock:
            self._looking.setdefault(pool, {})[viewer] = math.ceil(expires_at)

    def lookers(self, pool: str, now: float, most: int = 100_000) -> int:
        with self._lock:
            return sum(expires_at > now for expires_at in self._looking.get(pool, {}).values())

    def defaults(self) -> Defaults:
        with self._lock:
            return deepcopy(self._defaults)

    def put_defaults(self, defaults: Defaults) -> bool:
        with self._lock:
            if self._defaults.version != defaults.version - 1:
                return False
            self._defaults = deepcopy(defaults)
            return True

    def begin_pass(self, name: str) -> Pool | None:
        with self._lock:
            row = self._pools.get(name)
            if row is None:
                return None
            pool = self._pools[name] = replace(row, pass_no=row.pass_no + 1)
            return pool

    def pass_no(self, name: str) -> int | None:
        with self._lock:
            row = self._pools.get(name)
            return None if row is None else row.pass_no

    def note_pass(self, name: str, pass_no: int, **facts: Any) -> bool:
        only(PASS_FACTS, facts)
        with self._lock:
            row = self._pools.get(name)
            if row is None or row.pass_no != pass_no:
                return False
            self._pools[name] = replace(row, **deepcopy(facts))
            return True

    def token(self, sha256: str) -> Token | None:
        with self._lock:
            return self._tokens.get(sha256)

    def put_token(self, token: Token) -> bool:
        with self._lock:
            if token.sha256 in self._tokens:
                return False
            self._tokens[token.sha256] = token
            return True

    def tokens(self, beginning: str = "") -> list[Token]:
        with self._lock:
            return [self._tokens[sha256] for sha256 in sorted(self._tokens) if sha256.startswith(beginning)]

    def remove_token(self, sha256: str) -> bool:
        with self._lock:
            return self._tokens.pop(sha256, None) is not None

    def note_use(self, sha256: str, at: float, *, before: float, expires_at: float) -> bool:
        with self._lock:
            if self._uses.get(sha256, before) > before:
                return False
            self._uses[sha256] = at
            return True

    def uses(self) -> dict[str, float]:
        with self._lock:
            return dict(self._uses)

    def setting(self, name: str) -> Mapping[str, Any] | None:
        with self._lock:
            return deepcopy(self._settings.get(name))

    def put_setting(self, name: str, value: Mapping[str, Any]) -> None:
        with self._lock:
            self._settings[name] = deepcopy(dict(value))
