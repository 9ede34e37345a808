"""Attribute types that PynamoDB has not: whole numbers, exact times, typed JSON text, maps of numbers, a host's assignments."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, Generic, TypeVar

import msgspec
from pynamodb.attributes import Attribute

from chalicelib.core.host import Assignment
from chalicelib.core.job import End

T = TypeVar("T")


class Int(Attribute[int]):
    """A whole number."""

    attr_type = "N"

    def serialize(self, value: int) -> str:
        return str(value)

    def deserialize(self, value: str) -> int:
        return int(value)


class Float(Attribute[float]):
    """A float; `repr` has at most 17 digits and DynamoDB keeps 38, so it comes back bit for bit."""

    attr_type = "N"

    def serialize(self, value: float) -> str:
        return repr(float(value))

    def deserialize(self, value: str) -> float:
        return float(value)


class Moment(Attribute[float]):
    """A time to live: DynamoDB expires whole seconds, so it is rounded up."""

    attr_type = "N"

    def serialize(self, value: float) -> str:
        return str(-int(-value // 1))

    def deserialize(self, value: str) -> float:
        return float(value)


class Floats(Attribute[dict[str, float]]):
    """A map of numbers, each of which can be set on its own (`row.entered["running"].set(at)`)."""

    attr_type = "M"

    def serialize(self, value: Any) -> dict[str, dict[str, str]]:
        return {name: {"N": repr(float(number))} for name, number in value.items()}

    def deserialize(self, value: dict[str, dict[str, str]]) -> dict[str, float]:
        return {name: float(number["N"]) for name, number in value.items()}


class Json(Attribute[T], Generic[T]):
    """A record as compact JSON text of the given type. A lone surrogate, which a graded program may well write, becomes "?"."""

    attr_type = "S"

    def __init__(self, shape: type[T], **options: Any) -> None:
        super().__init__(**options)
        self.shape = shape

    def serialize(self, value: T) -> str:
        try:
            return msgspec.json.encode(value).decode()
        except UnicodeEncodeError:  # no UTF-8 can carry it, and it must not keep a job from ending
            text = json.dumps(msgspec.to_builtins(value), ensure_ascii=False, separators=(",", ":"))
            return text.encode("utf-8", "replace").decode()

    def deserialize(self, value: str) -> T:
        return msgspec.json.decode(value, type=self.shape)


class Sparse(Json[T]):
    """The same for a dataclass, without the fields that are None or empty by default and still are. Other defaults are said: they may
    be others one day, and a row keeps its meaning."""

    def serialize(self, value: T) -> str:
        return super().serialize(_said(value))


def _said(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_said(item) for item in value]
    if not is_dataclass(value):
        return value
    said = {}
    for name, empty in _fields(value.__class__):
        item = getattr(value, name)
        if empty is _NEVER or item != empty:
            said[name] = _said(item)
    return said


_NEVER = object()


@cache
def _fields(shape: Any) -> tuple[tuple[str, Any], ...]:
    """Each field with what it is by default, if that is None or empty."""
    defaults = [(f.name, f.default_factory() if callable(f.default_factory) else f.default) for f in fields(shape)]
    return tuple((name, d if d is None or d in ("", (), {}) else _NEVER) for name, d in defaults)


class Ends(Attribute[dict[int, End]]):
    """How a gang's members ended: a map of JSON texts by rank, each of which is written alone."""

    attr_type = "M"

    def serialize(self, value: dict[int, End]) -> dict[str, dict[str, str]]:
        return {str(rank): {"S": end_text(end)} for rank, end in value.items()}

    def deserialize(self, value: dict[str, dict[str, str]]) -> dict[int, End]:
        return {int(rank): msgspec.json.decode(text["S"], type=End) for rank, text in value.items()}


def end_text(end: End) -> str:
    """One of them."""
    return Json(End).serialize(end)


class Assignments(Attribute[dict[str, Assignment]]):
    """A host's assignments: a map keyed `job#attempt` whose entries are maps, so that each, and each field of it, is written alone."""

    attr_type = "M"

    def serialize(self, value: dict[str, Assignment]) -> dict[str, Any]:
        return {key: assignment_map(assignment) for key, assignment in value.items()}

    def deserialize(self, value: dict[str, Any]) -> dict[str, Assignment]:
        return {key: _assignment(entry["M"]) for key, entry in value.items()}


def assignment_map(assignment: Assignment) -> dict[str, Any]:
    """One entry in DynamoDB's own notation; facts that are not known yet are absent."""
    values = {f.name: getattr(assignment, f.name) for f in fields(Assignment)}
    return {"M": {name: _notation(value) for name, value in values.items() if value is not None}}


def _notation(value: bool | float | str) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"BOOL": value}
    if isinstance(value, str):
        return {"S": value}
    return {"N": repr(value)}


def _assignment(entry: dict[str, dict[str, Any]]) -> Assignment:
    plain = {name: next(iter(value.values())) for name, value in entry.items()}
    return msgspec.convert(plain, Assignment, strict=False)  # DynamoDB's numbers arrive as text
