"""Instance types as a setting: what may be said of one, and how it is taken back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chalicelib.api import pool_wire
from chalicelib.core.settings import patched
from chalicelib.errors import BadRequest

GOOD = {"vcpus": 2, "memory_mib": 4096, "price_usd_h": 0.05, "arch": "arm64"}


def patch(document: dict[str, Any]) -> dict[str, Any]:
    return pool_wire.patch(json.dumps(document))


def test_a_type_is_said_beside_the_others_and_taken_back_alone() -> None:
    """A merge patch: null inside takes one away."""
    first = patched({}, patch({"types": {"c99z.large": GOOD}}))
    both = patched(first, patch({"types": {"c98z.large": {**GOOD, "arch": "x86_64"}}}))
    assert set(both["types"]) == {"c99z.large", "c98z.large"}
    assert set(patched(both, patch({"types": {"c99z.large": None}}))["types"]) == {"c98z.large"}
    assert patched(both, patch({"types": None})) == {}


@pytest.mark.parametrize(
    ("name", "said", "where"),
    [
        ("c99z.large", {**GOOD, "vcpus": 0}, "vcpus"),
        ("c99z.large", {**GOOD, "price_usd_h": 0}, "price_usd_h"),
        ("c99z.large", {**GOOD, "arch": "vax"}, "arch"),
        ("c99z.large", {**GOOD, "memory_mib": 1}, "memory_mib"),
        ("c99z.large", {**GOOD, "gpus": 1}, "gpus"),
        ("c99z.large", {"vcpus": 2}, "types"),
        ("C99Z LARGE", GOOD, "types"),
    ],
)
def test_what_no_type_can_be_is_refused_by_its_field(name: str, said: dict[str, Any], where: str) -> None:
    with pytest.raises(BadRequest) as caught:
        patch({"types": {name: said}})
    assert any(where in f"{fault.field} {fault.message}" for fault in caught.value.faults)
