"""A job's parameters as its command finds them: all of them in `parameters.json` in the work folder, and each plain one as a variable.

`SPILLWAY_PARAM_<NAME>`, the name in capitals, whatever is no letter, digit or underscore as an underscore. Lists and objects, null, and
texts that no environment should hold are in the file only. Pure.
"""

from __future__ import annotations

import json
import re
from typing import Any, Mapping

FILE = "parameters.json"
PREFIX = "SPILLWAY_PARAM_"
TEXT_MAX = 8192


def variables(parameters: Mapping[str, Any]) -> dict[str, str]:
    """The plain ones as environment variables."""
    found = {}
    for name, value in parameters.items():
        text = _text(value)
        if text is not None:
            found[PREFIX + re.sub(r"[^A-Za-z0-9_]", "_", name).upper()] = text
    return found


def document(parameters: Mapping[str, Any]) -> str:
    """What the file holds."""
    return json.dumps(parameters, ensure_ascii=False, indent=1) + "\n"


def _text(value: Any) -> "str | None":
    if isinstance(value, str):
        return value if len(value) <= TEXT_MAX and "\0" not in value else None
    if isinstance(value, (bool, int, float)):
        return json.dumps(value)
    return None
