"""A family: a named job definition with default values, a schema of its parameters and a git source. Every version of it is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """`defaults`: the document of a job, as far as it was said. `schema`: JSON Schema of `parameters`; empty: any."""

    name: str
    version: int
    title: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    schema: Mapping[str, Any] = field(default_factory=dict)
    source: Mapping[str, Any] | None = None  # url, branch, token (a secret's name), path in the work folder
    by: str = ""
    at: float = 0.0
