"""The parameters of policies are data: frozen structs whose fields carry default, bounds, unit and a sentence.

`field(default=60.0, metadata=bounds(1, 3600, "s", "…"))` is all that a policy writes; checks, the API's errors and
docs/policies.md come from it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

BOUNDS = "bounds"


@dataclass(frozen=True, slots=True)
class Bounds:
    """`ge` ≤ value ≤ `le`, in `unit` ("" for a plain factor)."""

    ge: float
    le: float
    unit: str
    about: str


@dataclass(frozen=True, slots=True)
class Parameter:
    """One field of a policy's struct."""

    name: str
    default: float
    whole: bool  # a whole number
    bounds: Bounds

    def fault(self, value: Any) -> str | None:
        """What is wrong with a value, as a sentence, or None."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"must be a number, not {value!r}"
        if not self.bounds.ge <= value <= self.bounds.le:  # NaN too
            return f"must be between {self.bounds.ge:g} and {self.bounds.le:g}{self._unit}, not {value:g}"
        if self.whole and value != int(value):
            return f"must be a whole number, not {value:g}"
        return None

    @property
    def _unit(self) -> str:
        return f" {self.bounds.unit}" if self.bounds.unit else ""


def bounds(ge: float, le: float, unit: str, about: str) -> dict[str, Bounds]:
    """Metadata of a parameter's field."""
    return {BOUNDS: Bounds(ge, le, unit, about)}


def parameters(struct: type[Any]) -> Iterator[Parameter]:
    """The fields of a policy's struct, in order."""
    for f in dataclasses.fields(struct):
        default: Any = f.default
        yield Parameter(f.name, default, isinstance(default, int), f.metadata[BOUNDS])


def built(struct: type[Any], given: Mapping[str, Any]) -> Any:
    """The struct from what was given, defaults for the rest.

    Names that it does not have are passed over: a row may be older than the code.
    """
    known = {p.name: p for p in parameters(struct)}
    return struct(**{n: int(v) if known[n].whole else float(v) for n, v in given.items() if n in known})
