"""A family's document in a file may name files and folders beside it: an input {"path": "tests", "from": "../tests"}.

On this machine they are read where they are; `spillway family put` uploads them first.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spillway.errors import BadInput

Files = list[tuple[str, Path]]  # (path in the work folder, file or folder here)


def taken(document: Mapping[str, Any], folder: Path) -> tuple[dict[str, Any], Files]:
    """The document without the inputs that say `from`, and those, relative to `folder`. Raises BadInput."""
    defaults = document.get("defaults")
    inputs = defaults.get("inputs") if isinstance(defaults, dict) else None
    if not isinstance(inputs, list):
        return dict(document), []
    files: Files = []
    kept = []
    for number, one in enumerate(inputs):
        if not (isinstance(one, dict) and "from" in one):
            kept.append(one)
        elif set(one) != {"path", "from"} or not all(isinstance(value, str) for value in one.values()):
            raise BadInput(f"defaults.inputs[{number}] says `from`, and then takes a path beside it and nothing else.")
        elif not (folder / one["from"]).exists():
            raise BadInput(f"defaults.inputs[{number}]: there is no file or folder {folder / one['from']}.")
        else:
            files.append((one["path"], folder / one["from"]))
    return {**document, "defaults": {**(defaults or {}), "inputs": kept}}, files
