"""What an operator told a policy: checked when it is set, built when it is used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chalicelib.core.scaling.bounds import built, parameters
from chalicelib.core.scaling.policies import POLICIES
from chalicelib.errors import Fault


def faults(policy: str, given: Mapping[str, Any]) -> list[Fault]:
    """All that is wrong with a policy's name and its parameters; fields `policy` and `parameters.NAME`."""
    if policy not in POLICIES:
        return [Fault("policy", f"there is no policy {policy!r}; there are {', '.join(sorted(POLICIES))}")]
    struct = POLICIES[policy].parameters
    known = {p.name: p for p in parameters(struct)}
    found = []
    for name, value in given.items():
        if name not in known:
            has = f"; it has {', '.join(known)}" if known else "; it has none"
            found.append(Fault(f"parameters.{name}", f"{policy} has no such parameter{has}"))
        elif message := known[name].fault(value):
            found.append(Fault(f"parameters.{name}", message))
    if found:
        return found
    return [Fault(f"parameters.{n}", text) for n, text in POLICIES[policy].conflicts(parameters_of(policy, given))]


def parameters_of(policy: str, given: Mapping[str, Any]) -> Any:
    """A policy's struct: what was given, defaults for the rest. KeyError where there is no such policy."""
    return built(POLICIES[policy].parameters, given)
