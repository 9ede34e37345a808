"""Runtime settings: what an operator said of a pool, over what was said for the whole stage, over our defaults.

Theory of operation. What people say are sparse documents (field → value, as JSON has it): one for each pool, one for the stage. What a
pass reads is a whole `PoolSpec`, made of both by `effective` when either is written, and kept on the pool's row beside the sparse
document. So a pass reads one row and sees one consistent spec, and a later change of the stage's defaults reaches what a pool left
unsaid, and nothing else.

`policy` and `parameters` belong together: who names a policy says its parameters, because another policy's mean nothing to it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from chalicelib.core import offering_faults
from chalicelib.core.host import Offering
from chalicelib.core.pool import Pool, PoolSpec
from chalicelib.core.scaling import parameters
from chalicelib.errors import Fault

FIELDS = tuple(f.name for f in fields(PoolSpec))
VALUE_CHARS_MAX = 160  # of one value in a sentence

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """The stage's own defaults: a sparse document, its version (0: nobody ever said anything), and who said it last."""

    version: int = 0
    settings: Document = field(default_factory=dict)
    by: str = ""
    at: float = 0.0


def effective(defaults: Document, own: Document) -> PoolSpec:
    """Our defaults ← the stage's ← the pool's own. Names that no field has (a newer release wrote them) are left out."""
    given = {name: value for name, value in {**defaults, **own}.items() if name in FIELDS}
    given["parameters"] = dict(own.get("parameters", {}))
    if "policy" not in own:
        given["parameters"] = {**defaults.get("parameters", {}), **given["parameters"]}
    given["types"] = {**defaults.get("types", {}), **own.get("types", {})}  # a pool that adds one keeps the stage's
    if "offerings" in given:
        given["offerings"] = tuple(Offering(**offering) for offering in given["offerings"])
    return PoolSpec(**given)


def said(pool: Pool) -> dict[str, Any]:
    """What the pool's operator said. A row that was made without a document says it by differing from our defaults."""
    if pool.settings is not None:
        return dict(pool.settings)
    return {name: value for name, value in plain(pool.spec).items() if value != _OURS[name]}


def plain(spec: PoolSpec) -> dict[str, Any]:
    """Every field of a spec, as JSON has it."""
    return {name: _plain(getattr(spec, name)) for name in FIELDS}


def origins(defaults: Document, own: Document) -> dict[str, str]:
    """Who set each field: "own" (the pool's operator), "stage" (the stage's defaults) or "default" (Spillway's)."""
    found = {name: "own" if name in own else "stage" if name in defaults else "default" for name in FIELDS}
    if "policy" in own and "parameters" not in own:
        found["parameters"] = "default"
    return found


def merged(document: Document, patch: Document) -> dict[str, Any]:
    """A JSON merge patch (RFC 7396): null takes a name away, objects are merged, everything else replaces."""
    result = dict(document)
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, Mapping):
            before = result.get(name)
            result[name] = merged(before if isinstance(before, Mapping) else {}, value)
        else:
            result[name] = value
    return result


def patched(document: Document, patch: Document) -> dict[str, Any]:
    """The settings after a merge patch. Whoever names another policy begins its parameters anew."""
    if "policy" in patch and patch["policy"] != document.get("policy"):
        document = {name: value for name, value in document.items() if name != "parameters"}
    return merged(document, patch)


def diff(before: Document, after: Document, inherited: Document | None = None) -> list[str]:
    """What changed, a sentence a field: "linger_s: 60 → 120". What a document does not say is shown as it is `inherited` (our defaults)."""
    below = _OURS if inherited is None else {**_OURS, **inherited}
    sentences = []
    for name in FIELDS:
        old, new = (document.get(name, _UNSAID) for document in (before, after))
        if old != new:
            shown = [_inherited(below[name]) if value is _UNSAID else _shown(value) for value in (old, new)]
            sentences.append(f"{name}: {shown[0]} → {shown[1]}")
    return sentences


def faults(spec: PoolSpec) -> list[Fault]:
    """What no schema can say: offerings that cannot be, limits that contradict each other, another policy's parameters."""
    return list(_faults(spec))


def _faults(spec: PoolSpec) -> Iterator[Fault]:
    yield from offering_faults.faults(spec)
    if spec.hosts_min > spec.hosts_max:
        yield Fault("hosts_min", f"is {spec.hosts_min}, more than hosts_max, {spec.hosts_max}")
    if spec.hosts_desired is not None and spec.hosts_desired > spec.hosts_max:
        yield Fault("hosts_desired", f"is {spec.hosts_desired}, more than hosts_max, {spec.hosts_max}")
    if spec.hosts_desired is not None and spec.hosts_desired < spec.hosts_min:
        yield Fault("hosts_desired", f"is {spec.hosts_desired}, less than hosts_min, {spec.hosts_min}")
    if spec.missed_pings_s < 2 * spec.ping_every_s:
        yield Fault(
            "missed_pings_s",
            f"is {spec.missed_pings_s}, less than two pings ({spec.ping_every_s} s each, ping_every_s): "
            "one late ping would make a host unhealthy",
        )
    if spec.unreachable_max_s < spec.ping_every_s:
        yield Fault(
            "unreachable_max_s",
            f"is {spec.unreachable_max_s}, less than ping_every_s, {spec.ping_every_s}: hosts would shut themselves down",
        )
    if spec.idle_max_s < spec.ping_every_s:  # shorter than linger_s is harmless: what hosts are told is raised above it
        yield Fault("idle_max_s", f"is {spec.idle_max_s}, less than ping_every_s, {spec.ping_every_s}")
    if spec.image is not None and len({offering.region for offering in spec.offerings}) > 1:
        yield Fault("image", f"is {spec.image}, but an image lives in one region and the offerings name several")
    if spec.capacity == "asg" and spec.launch_template is not None:
        yield Fault(
            "launch_template", "is not used where capacity is asg: the groups have launch templates of their own"
        )
    if spec.capacity == "asg" and spec.rank_spot:
        yield Fault("rank_spot", "is not used where capacity is asg: the groups choose among their types by themselves")
    if spec.share_hosts and spec.sandbox == "none":
        yield Fault(
            "share_hosts",
            "is true, and sandbox is none: what ran without a sandbox may have left anything, so no host can be scrubbed for others",
        )
    yield from parameters.faults(spec.policy, spec.parameters)


_UNSAID = object()


def _plain(value: Any) -> Any:
    if isinstance(value, Offering):
        return asdict(value)
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return dict(value) if isinstance(value, Mapping) else value


def _shown(value: Any) -> str:
    """A value as a person would write it; offerings by their keys and limits."""
    if isinstance(value, list) and value and all(isinstance(each, Mapping) for each in value):
        text = ", ".join(Offering(**each).asked_with(None, None) for each in value)
    else:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= VALUE_CHARS_MAX else text[: VALUE_CHARS_MAX - 1] + "…"


def _inherited(value: Any) -> str:
    return f"{_shown(value)} (inherited)"


_OURS: dict[str, Any] = plain(PoolSpec())
