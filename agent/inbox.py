"""What an inbox document means to an agent that already knows some attempts. Pure.

The inbox is level-triggered: it is always the host's whole present state, and may be read twice, late, or never. So a
document is compared with what is known, and only the difference is acted upon.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Mapping, NamedTuple, Optional

from agent.manifest import Assignment, Wrong, given


class Orders(NamedTuple):
    """The difference that a document makes. `cancel` are attempt keys; `stop` is the reason, None for "go on"."""

    pass_no: int
    assignments: tuple[Assignment, ...]
    cancel: tuple[str, ...]
    stop: Optional[str]
    problems: tuple[str, ...]
    go: Mapping[str, tuple[str, ...]] = {}  # attempts of gangs that begin, with their peers' addresses by rank
    named: frozenset[str] = frozenset()  # all attempts that are assigned here or to be cancelled, known or not


def read(data: bytes, obeyed_pass_no: int, known: Mapping[str, str]) -> Optional[Orders]:
    """Orders in a document, None when it is older than what was obeyed.

    `known` maps the keys of attempts to their fingerprint (see `fingerprint`): an attempt that is known is ignored, except
    one that was refused for want of good URLs and now comes with others. Raises Wrong for a document that is none.
    """
    try:
        document = json.loads(data)
        pass_no = int(document["pass_no"])
    except (ValueError, KeyError, TypeError) as error:
        raise Wrong("the inbox holds no inbox document: %r" % (error,)) from error
    if pass_no < obeyed_pass_no:
        return None
    fresh: list[Assignment] = []
    problems: list[str] = []
    seen, named = set(), set()
    for one in document.get("assignments") or ():
        try:
            found = given(one)
            named.add(found.key)
        except Wrong as error:
            problems.append("an assignment of the inbox is unusable: %s" % error)
            continue
        if found.key in seen or known.get(found.key) in (KNOWN, fingerprint(found)):
            continue
        seen.add(found.key)
        fresh.append(found)
    cancel = tuple(_key(one) for one in document.get("cancel") or ())
    stop: Any = document.get("stop")
    reason = str(stop.get("reason") or "told to stop") if isinstance(stop, dict) else None
    go = {_key(one): tuple(str(peer) for peer in one["peers"]) for one in document.get("go") or ()}
    return Orders(pass_no, tuple(fresh), cancel, reason, tuple(problems), go, frozenset((*named, *cancel, *go)))


def _key(one: Mapping[str, Any]) -> str:
    return "%s#%d" % (one["job"], one["attempt"])


KNOWN = "known"  # nothing that an inbox says about such an attempt's assignment matters any more


def fingerprint(found: Assignment) -> str:
    """What came to an assignment that was refused for want of it, signed URLs and secrets: only others make it news again."""
    came = json.dumps([dict(found.urls), dict(found.values)], sort_keys=True)
    return "came:" + hashlib.sha256(came.encode("utf-8", "surrogatepass")).hexdigest()
