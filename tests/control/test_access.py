"""Tokens: made once, known by their hash, in force until they expire or are revoked, and everything about them told."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from town import Town

from chalicelib.api import auth
from chalicelib.control import access, story
from chalicelib.errors import NotFound, StoreUnavailable
from chalicelib.ids import token_hash
from chalicelib.recall import Recall


def a_token(town: Town, **facts: object) -> str:
    given: dict[str, object] = {"role": "submitter", "owner": "alice", "days": 30, "note": "", "by": "root"}
    return access.issue(town.plane, **given | facts)[0]  # type: ignore[arg-type]


def bearer(town: Town, text: str) -> auth.Token | None:
    return auth.identify(town.plane, f"Bearer {text}")


def test_a_token_opens_what_its_row_says_and_its_text_is_kept_nowhere() -> None:
    """256 random bits; the table has their SHA-256, the story and the list only the id."""
    town = Town()
    text, made = access.issue(town.plane, role="operator", owner="cs101", days=30, note="the LMS", by="root")
    assert re.fullmatch(r"spw_[A-Za-z0-9_-]{43}", text)
    found = bearer(town, text)
    assert found is not None
    assert (found.role, found.owner, found.expires_at) == ("operator", "cs101", town.now + 30 * 86_400)
    assert town.stores.registry.tokens() == [made]
    told = [line.reason for line in story.of_settings(town.plane)]
    assert told == [f"{made.id} made: operator of cs101 for 'the LMS', expires at 1970-02-11T13:46:40Z (by root)"]
    assert text not in repr(made) + repr(told) + repr(access.listed(town.plane))
    assert made.id == f"token-{token_hash(text)[:16]}"


@pytest.mark.parametrize("wrong", ["", "Bearer ", "Basic {}", "Bearer {}x", "bearer {}", " Bearer {}", "Bearer {} "])
def test_what_is_no_bearer_token_opens_nothing(wrong: str) -> None:
    town = Town()
    text = a_token(town)
    assert bearer(town, text) is not None
    assert auth.identify(town.plane, wrong.format(text)) is None


def test_a_token_ends_at_its_expiry_also_where_it_is_remembered() -> None:
    """Expired ones are not listed: DynamoDB deletes them when it gets round to it."""
    town = Town()
    text = a_token(town, days=1)
    town.now += 86_400 - 1
    assert bearer(town, text) is not None
    town.now += 1
    assert bearer(town, text) is None
    assert access.listed(town.plane) == []


def test_a_revoked_token_is_out_of_force_within_a_minute() -> None:
    """What this process remembers of it and what API Gateway keeps of the answer are a minute together."""
    town = Town()
    text, made = access.issue(town.plane, role="admin", owner="root", days=None, note="", by="root")
    assert bearer(town, text) is not None
    access.revoke(town.plane, made.id, by="eve")
    town.now += auth.TOKEN_AGE_MAX_S + 0.001
    assert bearer(town, text) is None
    assert auth.TOKEN_AGE_MAX_S + auth.ANSWER_AGE_MAX_S <= 60
    assert story.of_settings(town.plane)[-1].reason == f"{made.id} revoked: admin of root (by eve)"


@pytest.mark.parametrize("name", ["", "token-", "token-0000000000000000", "token-%", "spw_x", "token-" + "f" * 64])
def test_what_is_not_there_cannot_be_revoked(name: str) -> None:
    """Nor can a beginning of an id stand for all that begin so."""
    town = Town()
    made = access.issue(town.plane, role="admin", owner="root", days=None, note="", by="root")[1]
    for wrong in (name, made.id[:-1], made.id.upper(), made.id + "\n"):
        with pytest.raises(NotFound):
            access.revoke(town.plane, wrong, by="eve")
    access.revoke(town.plane, made.id, by="eve")
    with pytest.raises(NotFound):
        access.revoke(town.plane, made.id, by="eve")


def test_the_last_use_is_written_at_most_once_an_hour() -> None:
    """Also by a process that was started a moment ago and remembers nothing."""
    town = Town()
    text = a_token(town)
    first_at = town.now
    for _ in range(60):
        for _process in range(2):
            auth.identify(replace(town.plane, recall=Recall()), f"Bearer {text}")
        assert access.listed(town.plane)[0][1] == first_at
        town.now += 59
    town.now = first_at + auth.USE_NOTED_EVERY_S
    assert bearer(town, text) is not None
    assert access.listed(town.plane)[0][1] == town.now


def test_a_use_that_cannot_be_noted_keeps_nobody_out() -> None:
    town = Town()
    text = a_token(town)

    class Unwritable:
        token = town.plane.stores.registry.token

        def note_use(self, *_: object, **__: object) -> bool:
            raise StoreUnavailable("throttled")

    plane = replace(town.plane, stores=replace(town.plane.stores, registry=Unwritable()))  # type: ignore[arg-type]
    assert auth.identify(plane, f"Bearer {text}") is not None
