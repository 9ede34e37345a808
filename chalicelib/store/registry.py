"""The registry in DynamoDB: pools and the stage's defaults of them, who is looking at them, tokens, settings.

A pool's row holds two kinds of fact that never overwrite each other: the spec, guarded by `version`, and what passes know, guarded by
`pass_no`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from pynamodb.expressions.update import Action

from chalicelib.core.calendar import Booking
from chalicelib.core.pool import Pool, PoolSpec, Prospects
from chalicelib.core.settings import Defaults
from chalicelib.store.batches import read_all
from chalicelib.store.connection import ConditionFailed, done
from chalicelib.store.ports import PASS_FACTS, Token, only
from chalicelib.store.tables import DefaultsRow, LookingRow, PoolRow, SettingRow, TokenRow, UseRow

DEFAULTS = ("defaults", "pools")


class DynamoRegistry:
    """`ports.Registry` over the registry table."""

    def __init__(
        self,
        pool: type[PoolRow],
        token: type[TokenRow],
        setting: type[SettingRow],
        defaults: type[DefaultsRow],
        looking: type[LookingRow],
        use: type[UseRow],
    ) -> None:
        self._pool, self._token, self._setting = pool, token, setting
        self._defaults, self._looking, self._use = defaults, looking, use

    def pools(self) -> list[Pool]:
        return [_pool(self._pool.from_raw_data(item)) for item in read_all(self._pool, "pool")]

    def pool(self, name: str) -> Pool | None:
        try:
            return _pool(self._pool.get("pool", name, consistent_read=True))
        except self._pool.DoesNotExist:
            return None

    def put_pool(
        self,
        name: str,
        spec: PoolSpec,
        *,
        version: int | None,
        settings: Mapping[str, Any] | None = None,
        defaults_version: int = 0,
    ) -> Pool | None:
        said = None if settings is None else dict(settings)
        row = self._pool(
            "pool", name, spec=spec, version=1, pass_no=0, settings=said, defaults_version=defaults_version
        )
        try:
            if version is None:
                row.save(condition=self._pool.name.does_not_exist())
            else:
                changes: list[Action] = [
                    self._pool.spec.set(spec),
                    self._pool.version.set(version + 1),
                    self._pool.defaults_version.set(defaults_version),
                    self._pool.settings.remove() if said is None else self._pool.settings.set(said),
                ]
                row.update(changes, condition=self._pool.version == version)
        except ConditionFailed:
            return None
        return _pool(row)

    def put_calendar(self, name: str, calendar: Sequence[Booking], *, version: int) -> Pool | None:
        row = self._pool("pool", name)
        changes: list[Action] = [self._pool.calendar.set(tuple(calendar)), self._pool.version.set(version + 1)]
        return _pool(row) if done(lambda: row.update(changes, condition=self._pool.version == version)) else None

    def note_interest(self, name: str, people: int) -> None:
        with suppress(ConditionFailed):
            self._pool("pool", name).update([self._pool.interest.set(people)], condition=self._pool.name.exists())

    def note_prospects(self, name: str, prospects: Prospects) -> None:
        with suppress(ConditionFailed):
            row = self._pool("pool", name)
            row.update([self._pool.prospects.set(prospects)], condition=self._pool.name.exists())

    def looking(self, pool: str, viewer: str, expires_at: float) -> None:
        self._looking(f"looking/{pool}", viewer, expires_at=expires_at).save()

    def lookers(self, pool: str, now: float, most: int = 100_000) -> int:
        connection, start, found = self._looking._get_connection(), None, 0
        while found < most:
            answer = connection.query(
                f"looking/{pool}",
                filter_condition=self._looking.expires_at > now,
                consistent_read=True,
                exclusive_start_key=start,
                select="COUNT",
            )
            found += answer["Count"]
            start = answer.get("LastEvaluatedKey")
            if start is None:
                break
        return found

    def defaults(self) -> Defaults:
        try:
            row = self._defaults.get(*DEFAULTS, consistent_read=True)
        except self._defaults.DoesNotExist:
            return Defaults()
        return Defaults(version=row.version, settings=row.settings, by=row.by, at=row.at)

    def put_defaults(self, defaults: Defaults) -> bool:
        row = self._defaults(
            *DEFAULTS, settings=dict(defaults.settings), version=defaults.version, by=defaults.by, at=defaults.at
        )
        first = defaults.version == 1
        before = self._defaults.name.does_not_exist() if first else self._defaults.version == defaults.version - 1
        return done(lambda: row.save(condition=before))

    def begin_pass(self, name: str) -> Pool | None:
        row = self._pool("pool", name)
        return (
            _pool(row)
            if done(lambda: row.update([self._pool.pass_no.add(1)], condition=self._pool.name.exists()))
            else None
        )

    def pass_no(self, name: str) -> int | None:
        try:
            return self._pool.get("pool", name, consistent_read=True, attributes_to_get=["pass_no"]).pass_no
        except self._pool.DoesNotExist:
            return None

    def note_pass(self, name: str, pass_no: int, **facts: Any) -> bool:
        only(PASS_FACTS, facts)
        if not facts:
            return self.pass_no(name) == pass_no
        attributes = self._pool.get_attributes()
        changes: list[Action] = [
            attributes[name].remove() if value is None else attributes[name].set(value) for name, value in facts.items()
        ]
        return done(lambda: self._pool("pool", name).update(changes, condition=self._pool.pass_no == pass_no))

    def token(self, sha256: str) -> Token | None:
        try:
            return _token(self._token.get("token", sha256, consistent_read=True))
        except self._token.DoesNotExist:
            return None

    def put_token(self, token: Token) -> bool:
        row = self._token(
            "token",
            token.sha256,
            role=token.role,
            owner=token.owner,
            created_at=token.created_at,
            expires_at=token.expires_at,
            note=token.note,
            by=token.by,
        )
        return done(lambda: row.save(condition=self._token.name.does_not_exist()))

    def tokens(self, beginning: str = "") -> list[Token]:
        condition = self._token.name.startswith(beginning) if beginning else None
        return [_token(self._token.from_raw_data(item)) for item in read_all(self._token, "token", condition)]

    def remove_token(self, sha256: str) -> bool:
        return done(lambda: self._token("token", sha256).delete(condition=self._token.name.exists()))

    def note_use(self, sha256: str, at: float, *, before: float, expires_at: float) -> bool:
        try:
            row = self._use("use", sha256, at=at, expires_at=expires_at)
            row.save(condition=self._use.at.does_not_exist() | (self._use.at <= before))
        except ConditionFailed:
            return False
        return True

    def uses(self) -> dict[str, float]:
        rows = (self._use.from_raw_data(item) for item in read_all(self._use, "use"))
        return {row.name: row.at for row in rows}

    def setting(self, name: str) -> Mapping[str, Any] | None:
        try:
            return self._setting.get("setting", name, consistent_read=True).value
        except self._setting.DoesNotExist:
            return None

    def put_setting(self, name: str, value: Mapping[str, Any]) -> None:
        self._setting("setting", name, value=dict(value)).save()


def _pool(row: PoolRow) -> Pool:
    return Pool(
        name=row.name,
        spec=row.spec,
        version=row.version,
        pass_no=row.pass_no,
        looked_at=row.looked_at,
        list_due_at=row.list_due_at,
        wake_at=row.wake_at,
        supply=row.supply,
        expectation=row.expectation,
        settings=row.settings,
        defaults_version=row.defaults_version,
        calendar=row.calendar,
        interest=row.interest,
        prospects=row.prospects,
        scaling=row.scaling,
        clocks=row.clocks,
        asked=row.asked,
    )


def _token(row: TokenRow) -> Token:
    return Token(
        sha256=row.name,
        role=row.role,
        owner=row.owner,
        created_at=row.created_at,
        expires_at=row.expires_at,
        note=row.note,
        by=row.by,
    )
