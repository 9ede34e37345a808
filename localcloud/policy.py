"""IAM's evaluation of identity-based policies, pure: documents and one request go in, a decision comes out.

An explicit Deny wins, else one Allow is needed, else the answer is an implicit deny. Statements are matched as AWS does it:
actions without regard to case; resources segment by segment of the ARN, with `*` and `?`; `${policy:variables}` are replaced by
their literal values before wildcards count, so nobody's name can be a wildcard. An unknown condition operator never grants
anything: it fails an Allow and lets a Deny apply, and says so loudly.
"""

from __future__ import annotations

import functools
import ipaddress
import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

Context = Mapping[str, Sequence[str]]  # condition keys, lower case, to the request's values

log = logging.getLogger("localcloud.iam")


class Decision(Enum):
    """What the policies say."""

    ALLOW = "allow"
    IMPLICIT_DENY = "implicit deny"
    EXPLICIT_DENY = "explicit deny"


@dataclass(frozen=True)
class Request:
    """One thing somebody wants: `action` "sqs:SendMessage", the resource's ARN (or "*") and the condition keys' values."""

    action: str
    resource: str
    context: Context


def evaluate(documents: Iterable[str], request: Request) -> Decision:
    """Decide a request by policy documents (JSON texts)."""
    decision = Decision.IMPLICIT_DENY
    for document in documents:
        for statement in _statements(document):
            effect = statement.get("Effect")
            if not _applies(statement, request, effect == "Deny"):
                continue
            if effect == "Deny":
                return Decision.EXPLICIT_DENY
            decision = Decision.ALLOW
    return decision


def granted_actions(documents: Iterable[str]) -> list[str]:
    """The action patterns of all Allow statements, each once, in order."""
    allows = (s for document in documents for s in _statements(document) if s.get("Effect") == "Allow")
    return list(dict.fromkeys(pattern for statement in allows for pattern in _listed(statement.get("Action"))))


@functools.lru_cache(maxsize=512)
def _statements(document: str) -> tuple[dict[str, Any], ...]:
    return tuple(_listed(json.loads(document).get("Statement")))


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _applies(statement: dict[str, Any], request: Request, denies: bool) -> bool:
    if "NotAction" in statement:
        if any(action_matches(pattern, request.action) for pattern in _listed(statement["NotAction"])):
            return False
    elif not any(action_matches(pattern, request.action) for pattern in _listed(statement.get("Action"))):
        return False
    if "NotResource" in statement:
        if any(
            _arn_matches(pattern, request.resource, request.context) for pattern in _listed(statement["NotResource"])
        ):
            return False
    elif not any(
        _arn_matches(pattern, request.resource, request.context) for pattern in _listed(statement.get("Resource"))
    ):
        return False
    return all(
        _condition_holds(operator, key, _listed(wanted), request.context, denies)
        for operator, block in statement.get("Condition", {}).items()
        for key, wanted in block.items()
    )


def action_matches(pattern: str, action: str) -> bool:
    """Whether a policy's action pattern covers an action."""
    return _wildcard(pattern.lower()).fullmatch(action.lower()) is not None


def _arn_matches(pattern: str, arn: str, context: Context) -> bool:
    if pattern == "*":
        return True
    wanted, have = pattern.split(":", 5), arn.split(":", 5)
    if len(wanted) != 6 or len(have) != 6:
        return pattern == arn
    return all(_text_matches(w, h, context) for w, h in zip(wanted, have, strict=True))


def _text_matches(pattern: str, text: str, context: Context) -> bool:
    if "${" not in pattern:
        return _wildcard(pattern).fullmatch(text) is not None
    expression = _with_variables(pattern, context)
    return expression is not None and re.fullmatch(expression, text, re.DOTALL) is not None


@functools.lru_cache(maxsize=4096)
def _wildcard(pattern: str) -> re.Pattern[str]:
    return re.compile(_escape(pattern), re.DOTALL)


def _escape(pattern: str) -> str:
    return "".join(".*" if c == "*" else "." if c == "?" else re.escape(c) for c in pattern)


VARIABLE = re.compile(r"\$\{([^}]*)\}")


def _with_variables(pattern: str, context: Context) -> str | None:
    """A regular expression with the variables' literal values; None when one has no single value (nothing matches then)."""
    parts: list[str] = []
    at = 0
    for match in VARIABLE.finditer(pattern):
        parts.append(_escape(pattern[at : match.start()]))
        name, _, default = match.group(1).partition(",")
        name = name.strip()
        if name in ("*", "?", "$"):
            value = name
        else:
            values = context.get(name.lower(), ())
            if len(values) == 1:
                value = values[0]
            elif default:
                value = default.strip().strip("'")
            else:
                return None
        parts.append(re.escape(value))
        at = match.end()
    parts.append(_escape(pattern[at:]))
    return "".join(parts)


def _plain(wanted: str, context: Context) -> str | None:
    """A condition's value with variables filled in, for operators without wildcards."""
    missing = False

    def fill(match: re.Match[str]) -> str:
        nonlocal missing
        values = context.get(match.group(1).strip().lower(), ())
        missing = missing or len(values) != 1
        return values[0] if values else ""

    text = VARIABLE.sub(fill, wanted)
    return None if missing else text


Compare = Callable[[str, str, Context], bool]  # (the policy's value, the request's value, context)


def _equals(wanted: str, have: str, context: Context) -> bool:
    return _plain(wanted, context) == have


def _equals_ignoring_case(wanted: str, have: str, context: Context) -> bool:
    return (_plain(wanted, context) or "").lower() == have.lower()


def _numeric(test: Callable[[float, float], bool]) -> Compare:
    def compare(wanted: str, have: str, _: Context) -> bool:
        try:
            return test(float(have), float(wanted))
        except ValueError:
            return False

    return compare


def _date(test: Callable[[float, float], bool]) -> Compare:
    def compare(wanted: str, have: str, _: Context) -> bool:
        try:
            return test(_epoch(have), _epoch(wanted))
        except ValueError:
            return False

    return compare


def _epoch(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def _in_network(wanted: str, have: str, _: Context) -> bool:
    try:
        return ipaddress.ip_address(have) in ipaddress.ip_network(wanted, strict=False)
    except ValueError:
        return False


def _bool(wanted: str, have: str, _: Context) -> bool:
    return wanted.lower() == have.lower()


OPERATORS: dict[str, Compare] = {
    "StringEquals": _equals,
    "StringEqualsIgnoreCase": _equals_ignoring_case,
    "StringLike": _text_matches,
    "ArnEquals": _arn_matches,
    "ArnLike": _arn_matches,
    "Bool": _bool,
    "IpAddress": _in_network,
    "NumericEquals": _numeric(lambda have, wanted: have == wanted),
    "NumericLessThan": _numeric(lambda have, wanted: have < wanted),
    "NumericLessThanEquals": _numeric(lambda have, wanted: have <= wanted),
    "NumericGreaterThan": _numeric(lambda have, wanted: have > wanted),
    "NumericGreaterThanEquals": _numeric(lambda have, wanted: have >= wanted),
    "DateLessThan": _date(lambda have, wanted: have < wanted),
    "DateGreaterThan": _date(lambda have, wanted: have > wanted),
}
NEGATED: dict[str, str] = {
    "StringNotEquals": "StringEquals",
    "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
    "StringNotLike": "StringLike",
    "ArnNotEquals": "ArnEquals",
    "ArnNotLike": "ArnLike",
    "NotIpAddress": "IpAddress",
    "NumericNotEquals": "NumericEquals",
}


def _condition_holds(operator: str, key: str, wanted: list[Any], context: Context, denies: bool) -> bool:
    texts = [str(value).lower() if isinstance(value, bool) else str(value) for value in wanted]
    values = list(context.get(key.lower(), ()))
    quantifier, _, name = operator.rpartition(":")
    if name == "Null":
        return _bool(texts[0], str(not values).lower(), context)
    if_exists = name.endswith("IfExists")
    name = name.removesuffix("IfExists")
    negated = name in NEGATED
    compare = OPERATORS.get(NEGATED.get(name, name))
    if compare is None or quantifier not in ("", "ForAllValues", "ForAnyValue"):
        log.error("unknown condition operator operator=%s key=%s: it grants nothing", operator, key)
        return denies
    if not values:  # a missing key fails a condition, unless the operator says otherwise
        return if_exists or quantifier == "ForAllValues" or (negated and quantifier == "")

    def one(value: str) -> bool:
        return any(compare(text, value, context) for text in texts) != negated

    return (
        all(map(one, values)) if quantifier == "ForAllValues" or (negated and not quantifier) else any(map(one, values))
    )
