"""What all adapters' results have in common: reading foreign JSON with care, and saying it in the same words, in bounded space.

A result has `score`, `max_score`, `tests` (each `name, number, score, max_score, status, visibility, output, output_format, tags`), and,
where the grader said it, `output`, `output_format`, `visibility`, `stdout_visibility`, `leaderboard`, `execution_time`, `extra_data`,
`gradable`, `format_errors`. What is too long is cut, and `cut` says so: the whole of it is the output that the grader wrote.
"""

from __future__ import annotations

import json
import math
from typing import Any, Collection, Mapping, Optional

from agent.adapters import Broken

RESULT_MAX_BYTES = 32 * 1024  # of a finish ping's result
TEXT_STEPS = (8192, 2048, 512, 128, 0)  # to how many characters texts are cut, the longest that fits
TESTS_MAX = 1000
EXTRA_MAX_BYTES = 4096


def an_object(value: Any, what: str) -> Mapping[str, Any]:
    """Raises Broken unless it is a JSON object."""
    if not isinstance(value, dict):
        raise Broken("%s is %s, and must be an object" % (what, _kind(value)))
    return value


def number(value: Any, what: str) -> Optional[float]:
    """A finite number, None for null. Raises Broken."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Broken("%s is %s, and must be a number" % (what, _kind(value)))
    try:
        finite = math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        finite = False
    if not finite:
        raise Broken("%s is no finite number" % what)
    return value


def fraction(value: Any, what: str) -> Optional[float]:
    """A number in [0, 1]. Raises Broken."""
    found = number(value, what)
    if found is not None and not 0 <= found <= 1:
        raise Broken("%s is %g, and must be between 0 and 1" % (what, found))
    return found


def text(value: Any, what: str) -> Optional[str]:
    """Raises Broken unless it is text or null."""
    if value is not None and not isinstance(value, str):
        raise Broken("%s is %s, and must be text" % (what, _kind(value)))
    return None if value is None else value.encode("utf-8", "replace").decode()


def word(value: Any, what: str, words: Collection[str]) -> Optional[str]:
    """One of `words`. Raises Broken."""
    if value is not None and (not isinstance(value, str) or value not in words):
        raise Broken("%s is %s, and must be one of %s" % (what, short(value), ", ".join(sorted(words))))
    return value


def a_list(value: Any, what: str) -> list[Any]:
    """Raises Broken unless it is a list, or null."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise Broken("%s is %s, and must be a list" % (what, _kind(value)))
    return value


def total(parts: Collection[Optional[float]]) -> Optional[float]:
    """Their sum; None when there are none, or one is not known."""
    if not parts or any(part is None for part in parts):
        return None
    return math.fsum(part for part in parts if part is not None)


def said(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Without what was not said."""
    return {name: value for name, value in fields.items() if value is not None and value != []}


def fitted(result: dict[str, Any]) -> dict[str, Any]:
    """The result in at most RESULT_MAX_BYTES. Texts are cut first, then tests left out; scores of what is left are never touched."""
    tests = result.get("tests", [])
    if len(tests) <= TESTS_MAX and _bytes(result) <= RESULT_MAX_BYTES:
        return result
    found = {**result, "tests": tests[:TESTS_MAX], "cut": True}
    if _bytes(found.get("extra_data")) > EXTRA_MAX_BYTES:
        del found["extra_data"]
    if _bytes(found.get("leaderboard")) > EXTRA_MAX_BYTES:
        del found["leaderboard"]
    for limit in TEXT_STEPS:
        found = {name: _cut(value, limit, name) for name, value in found.items()}
        if _bytes(found) <= RESULT_MAX_BYTES:
            return found
    while found["tests"]:
        found["tests"] = found["tests"][: len(found["tests"]) // 2]
        if _bytes(found) <= RESULT_MAX_BYTES:
            return found
    return {name: found[name] for name in ("score", "max_score", "gradable", "tests", "cut") if name in found}


_WORDS = frozenset(
    ("status", "visibility", "stdout_visibility", "output_format", "name_format")
)  # one of few: never cut
_NAMES = frozenset(("name", "number"))
NAME_CHARS = 64


def _cut(value: Any, limit: int, key: str = "") -> Any:
    if isinstance(value, str) and key not in _WORDS:
        return value[: max(limit, NAME_CHARS) if key in _NAMES else limit]
    if isinstance(value, list):
        return [_cut(one, limit, key) for one in value]
    if isinstance(value, dict):
        return {name: _cut(one, limit, name) for name, one in value.items()}
    return value


def _bytes(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))


def short(value: Any) -> str:
    """How sentences quote what was found."""
    try:
        found = json.dumps(value)
    except (ValueError, RecursionError):
        found = type(value).__name__
    return found if len(found) <= 60 else found[:57] + "..."


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    kinds = {bool: "true or false", str: "text", list: "a list", dict: "an object", int: "a number", float: "a number"}
    return kinds.get(type(value), type(value).__name__)
