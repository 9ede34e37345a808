"""Pools, settings, tokens and quotas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from chalicelib.core.calendar import Booking
from chalicelib.core.pool import Pool, PoolSpec, Prospects
from chalicelib.core.quota import OwnerQuota, Quota
from chalicelib.core.settings import Defaults

PASS_FACTS = frozenset(
    {"looked_at", "list_due_at", "wake_at", "supply", "scaling", "expectation", "clocks", "asked"}
)  # what Registry.note_pass sets


TOKEN_ID_DIGITS = 16  # of a token's SHA-256 that are its id: 64 bits


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A bearer token's row: known only by the SHA-256 of its text."""

    sha256: str
    role: str  # submitter | operator | admin
    owner: str
    created_at: float
    expires_at: float | None = None
    note: str = ""  # what it is for
    by: str = ""  # whose token made it

    @property
    def id(self) -> str:
        """Its name among people: says which it is, and does not open anything."""
        return f"token-{self.sha256[:TOKEN_ID_DIGITS]}"


class Registry(Protocol):
    def pools(self) -> list[Pool]: ...

    def pool(self, name: str) -> Pool | None: ...

    def put_pool(
        self,
        name: str,
        spec: PoolSpec,
        *,
        version: int | None,
        settings: Mapping[str, Any] | None = None,
        defaults_version: int = 0,
    ) -> Pool | None:
        """Create (version None, only if absent) or replace the spec of that version; None if it lost the race.

        `settings` and `defaults_version` say what the spec was made of; they are replaced with it. Never touches the pass's own
        facts, nor calendar and interest.
        """

    def put_calendar(self, name: str, calendar: Sequence[Booking], *, version: int) -> Pool | None:
        """Replace the calendar of that version; None if it lost the race, or there is no such pool."""

    def note_interest(self, name: str, people: int) -> None:
        """Set how many people are looking; no new version. Does nothing if there is no such pool."""

    def note_prospects(self, name: str, prospects: Prospects) -> None:
        """Replace what is expected of spot prices; no new version. Does nothing if there is no such pool."""

    def looking(self, pool: str, viewer: str, expires_at: float) -> None:
        """Somebody is looking at this pool's front end until then; again replaces."""

    def lookers(self, pool: str, now: float, most: int = 100_000) -> int:
        """How many are looking now, all pages; beyond `most` it may stop counting."""

    def defaults(self) -> Defaults:
        """The stage's own defaults of pools; version 0 and empty where nobody ever set any."""

    def put_defaults(self, defaults: Defaults) -> bool:
        """Write them if the row is at the version before; False if it lost the race."""

    def begin_pass(self, name: str) -> Pool | None:
        """Raise `pass_no` by one and read the row, in one write; None if there is no such pool."""

    def pass_no(self, name: str) -> int | None: ...

    def note_pass(self, name: str, pass_no: int, **facts: Any) -> bool:
        """SET some of `PASS_FACTS`, only if `pass_no` is still the row's (the fence). None removes."""

    def token(self, sha256: str) -> Token | None: ...

    def put_token(self, token: Token) -> bool:
        """False if it exists."""

    def tokens(self, beginning: str = "") -> list[Token]:
        """All, or those whose SHA-256 begins so."""

    def remove_token(self, sha256: str) -> bool:
        """False if it was not there (any more)."""

    def note_use(self, sha256: str, at: float, *, before: float, expires_at: float) -> bool:
        """Remember that a token was used, unless a use after `before` is remembered; whether it was written."""

    def uses(self) -> dict[str, float]:
        """SHA-256 → when it was last used, of tokens that were."""

    def setting(self, name: str) -> Mapping[str, Any] | None: ...

    def put_setting(self, name: str, value: Mapping[str, Any]) -> None: ...


class Owners(Protocol):
    def quotas(self) -> list[OwnerQuota]:
        """Of all owners that were ever given one, by name."""

    def quota(self, owner: str) -> OwnerQuota:
        """An owner's; version 0 and no limit where nobody ever set one."""

    def put_quota(self, owner: str, quota: Quota, *, version: int, by: str, at: float) -> OwnerQuota | None:
        """Replace that version; None if it lost the race."""

    def spend(self, owner: str, day: str, attempt: str, usd: float, expires_at: float) -> None:
        """Note what an attempt (`<job>#<attempt>`) that ended on a day has cost; again replaces."""

    def spent(self, owner: str, day: str, enough: float) -> float:
        """What the attempts that ended on a day have cost; beyond `enough` it may stop adding."""
