"""What a job's parameters may be. Its host writes them to `parameters.json` and, the plain ones, into variables (agent/parameters.py)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from chalicelib.errors import Fault

FILE = "parameters.json"
PREFIX = "SPILLWAY_PARAM_"
BYTES_MAX = 65_536
NAME_CHARS_MAX = 128
DEPTH_MAX = 100  # far below where the JSON of anyone on its way gives up: a pass would fail on it each time, and its pool stand still


def faults(parameters: Mapping[str, Any]) -> Iterator[Fault]:
    """What no schema of a family can say: they are too large, or two of them would be one variable."""
    if too_deep(parameters):
        yield Fault("parameters", f"are nested more than {DEPTH_MAX} levels deep")
        return
    size = len(json.dumps(parameters, ensure_ascii=False).encode("utf-8", "replace"))
    if size > BYTES_MAX:
        yield Fault(
            "parameters", f"are {size} bytes as JSON; at most {BYTES_MAX} are taken, more belongs into an input"
        )
    named: dict[str, str] = {}
    for name in parameters:
        if not 0 < len(name) <= NAME_CHARS_MAX:
            yield Fault("parameters", f"has a name of {len(name)} characters; names have 1 to {NAME_CHARS_MAX}")
            continue
        other = named.setdefault(variable(name), name)
        if other != name:
            yield Fault(f"parameters.{name}", f"is called {variable(name)} in the environment, and so is {other}")


def too_deep(value: Any) -> bool:
    """Whether lists and objects are nested in it more than DEPTH_MAX levels deep."""
    level = [value]
    for _ in range(DEPTH_MAX):
        level = [one for one in level if isinstance(one, list | Mapping)]
        level = [inner for one in level for inner in (one.values() if isinstance(one, Mapping) else one)]
    return any(isinstance(one, list | Mapping) for one in level)


def variable(name: str) -> str:
    """The variable that a plain parameter is found in."""
    return PREFIX + re.sub(r"[^A-Za-z0-9_]", "_", name).upper()
