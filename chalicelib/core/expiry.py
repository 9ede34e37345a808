"""Jobs that have waited too long (`queue_ttl_s`): they are skipped, and nobody is asked to place them."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

from chalicelib.core.backlog import Entry
from chalicelib.core.plan import Expire
from chalicelib.core.spoken import duration


def split(entries: Sequence[Entry], now: float) -> tuple[Sequence[Entry], list[Expire], list[float]]:
    """Those who may wait on, the others as actions, and when the next one will have waited too long (one moment, or none)."""
    moments = set(map(attrgetter("give_up_at"), entries)) - {None}
    if not moments:
        return entries, [], []
    later = [at for at in moments if at > now]
    expired = [entry for entry in entries if entry.give_up_at is not None and entry.give_up_at <= now]
    if expired:
        entries = [entry for entry in entries if entry.give_up_at is None or entry.give_up_at > now]
    return entries, [Expire(entry, sentence(entry)) for entry in expired], [min(later)] if later else []


def sentence(entry: Entry) -> str:
    """Why it is skipped."""
    waited_s = (entry.give_up_at or 0.0) - entry.queued_at
    return f"no host had room for it within {duration(waited_s)}, and it was to wait no longer (queue_ttl_s)"
