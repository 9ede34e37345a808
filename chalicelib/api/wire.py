"""Decoding what users send, as strict structs: unknown fields, wrong types, impossible values are refused with the path of what is wrong.

`control` and `core` never see these. Documents of jobs are in `job_wire.py`, of pools in `pool_wire.py`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Annotated, Any, TypeVar, cast

import msgspec
from chalice.app import MultiDict

from chalicelib.api import wire_words
from chalicelib.errors import BadRequest, Fault, TooLarge

SPEC_BYTES_MAX = 131_072  # of one job's document
LATEST_S = 4_102_444_800  # the year 2100

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\Z")]
Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
Path = Annotated[str, msgspec.Meta(min_length=1, max_length=512)]
Epoch = Annotated[float, msgspec.Meta(ge=0, le=LATEST_S)]
Moment = Annotated[float, msgspec.Meta(ge=0, le=LATEST_S)] | Annotated[str, msgspec.Meta(max_length=40)]


class Strict(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, frozen=True, kw_only=True):
    """Encoded without defaults, so that a family's defaults can stand where nothing was said."""


class UploadWire(Strict, frozen=True, kw_only=True):
    """An upload announced: its SHA-256 in hex and its size."""

    sha256: Sha256
    bytes: Annotated[int, msgspec.Meta(ge=0, le=5_368_709_120)]


W = TypeVar("W", bound=Strict)


def decode(body: bytes | str, type_: type[W], bytes_max: int = SPEC_BYTES_MAX) -> W:
    """Decode a document. Raises BadRequest (which field, what) or TooLarge."""
    if len(body) > bytes_max:
        raise TooLarge(f"the body has {len(body)} bytes; at most {bytes_max} are taken here")
    try:
        return msgspec.json.decode(body, type=type_)
    except msgspec.ValidationError as error:
        raise _refusal(error) from None
    except RecursionError:  # thousands of brackets
        raise BadRequest("the body is nested too deep", (Fault("", "is nested too deep"),)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"the body is not JSON: {error}", (Fault("", f"is not JSON: {error}"),)) from None


def convert(document: Any, type_: type[W]) -> W:
    """A document that is decoded already, as its struct. Raises BadRequest (which field, what)."""
    try:
        return msgspec.convert(document, type_)
    except msgspec.ValidationError as error:
        raise _refusal(error) from None


@cache
def lists_of(type_: type[Strict]) -> frozenset[str]:
    """The parameters of a query that may be said several times."""
    fields = cast(msgspec.inspect.StructType, msgspec.inspect.type_info(type_)).fields
    return frozenset(f.encode_name for f in fields if isinstance(f.type, msgspec.inspect.ListType))


def query(given: MultiDict | None, type_: type[W]) -> W:
    """A query string as its struct: numbers come as text, lists by saying the parameter again. Raises BadRequest."""
    said = {name: given.getlist(name) for name in given} if given else {}
    lists = lists_of(type_)
    refuse([Fault(name, "is said twice") for name, values in said.items() if len(values) > 1 and name not in lists])
    document = {name: values if name in lists else values[0] for name, values in said.items()}
    try:
        asked = msgspec.convert(document, type_, strict=False)
    except msgspec.ValidationError as error:
        raise _refusal(error) from None
    names = {f.encode_name: f.name for f in msgspec.structs.fields(type_)}
    refuse([Fault(name, "cannot be null; leave it out") for name in said if getattr(asked, names[name]) is None])
    return asked


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")


class NamesQuery(Strict, frozen=True, kw_only=True):
    """A page of what has names, from behind `cursor` on (the `next` of the page before)."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 100
    cursor: Annotated[str, msgspec.Meta(max_length=64)] | None = None


def is_name(text: str) -> bool:
    return _NAME.match(text) is not None


def convert_name(text: str, field: str) -> str:
    """What is to become a name. Raises BadRequest."""
    if not is_name(text):
        refuse([Fault(field, "must be 1 to 64 letters, digits, dots, underscores and dashes, a letter or digit first")])
    return text


def refuse(faults: Sequence[Fault]) -> None:
    """Raises BadRequest with all of them, if there are any; its sentence is the first one's."""
    if faults:
        raise BadRequest(f"{faults[0].field}: {faults[0].message}", tuple(faults))


def _refusal(error: msgspec.ValidationError) -> BadRequest:
    found = wire_words.fault(str(error))
    return BadRequest(f"{found.field or 'the body'}: {found.message}", (found,))


def epoch_s(said: float | str) -> float:
    """A `Moment` in epoch seconds. Raises ValueError with a sentence."""
    if not isinstance(said, str):
        return said
    try:
        at = datetime.fromisoformat(said)
    except ValueError:
        raise ValueError(f"{said!r} is no time; say it as 2026-12-01T14:00:00+01:00 or in epoch seconds") from None
    if at.tzinfo is None:
        raise ValueError(f"{said!r} has no zone; say 2026-12-01T14:00:00+01:00 or …Z")
    seconds = at.timestamp()
    if not 0 <= seconds <= LATEST_S:
        raise ValueError(f"{said!r} is no time between 1970 and 2100")
    return seconds


def to_json(document: Any) -> str:
    return msgspec.json.encode(document).decode()
