"""Sparse documents of settings: what is inherited, what a patch does, what a change says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.host import Offering
from chalicelib.core.pool import Pool, PoolSpec
from chalicelib.core.scaling.policies import POLICIES
from chalicelib.core.settings import diff, effective, faults, merged, origins, patched, plain, said

LARGE = {"region": "us-east-1", "instance_type": "c7i.large"}
SPOT = {"region": "us-east-1", "instance_type": "m7i.large", "market": "spot"}


def test_nothing_said_is_our_own_defaults() -> None:
    assert effective({}, {}) == PoolSpec()
    assert faults(PoolSpec()) == []


def test_a_pools_own_word_stands_over_the_stages_and_the_stages_over_ours() -> None:
    spec = effective({"linger_s": 1, "hosts_max": 2}, {"linger_s": 3, "offerings": [SPOT]})
    assert (spec.linger_s, spec.hosts_max, spec.hosts_min) == (3, 2, 0)
    assert spec.offerings == (Offering(**SPOT),)
    assert origins({"linger_s": 1, "hosts_max": 2}, {"linger_s": 3})["linger_s"] == "own"
    assert origins({"linger_s": 1, "hosts_max": 2}, {"linger_s": 3})["hosts_max"] == "stage"
    assert origins({"linger_s": 1, "hosts_max": 2}, {"linger_s": 3})["hosts_min"] == "default"


def test_parameters_are_inherited_with_their_policy_and_never_without_it() -> None:
    """Another policy's parameters mean nothing; the same policy's are laid over each other."""
    stage = {"policy": "headroom", "parameters": {"factor": 1.5}}
    assert effective(stage, {}).parameters == {"factor": 1.5}
    assert effective(stage, {"parameters": {"hosts_min": 2.0}}).parameters == {"factor": 1.5, "hosts_min": 2.0}
    assert effective(stage, {"parameters": {"factor": 1.7}}).parameters == {"factor": 1.7}
    assert effective(stage, {"policy": "square_root"}).parameters == {}
    assert effective(stage, {"policy": "headroom"}).parameters == {}
    assert origins(stage, {"policy": "square_root"})["parameters"] == "default"


def test_what_a_newer_release_wrote_is_left_out() -> None:
    """Going back to an older release must not make every pass fail."""
    assert effective({"colour": "blue"}, {"shape": 3}) == PoolSpec()


def test_a_row_without_a_document_says_what_differs_from_our_defaults() -> None:
    spec = replace(PoolSpec(), linger_s=5, offerings=(Offering(**SPOT),))
    own = said(Pool(name="p", spec=spec))
    assert set(own) == {"linger_s", "offerings"}
    assert effective({}, own) == spec
    assert said(Pool(name="p", spec=spec, settings={})) == {}


@pytest.mark.parametrize(
    ("document", "patch", "result"),
    [  # RFC 7396, appendix A, as far as documents are objects
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        ({"a": 1}, {"a": {"b": 2}}, {"a": {"b": 2}}),
    ],
)
def test_a_patch_is_a_json_merge_patch(document: Any, patch: Any, result: Any) -> None:
    before = dict(document)
    assert merged(document, patch) == result
    assert document == before


def test_another_policy_begins_its_parameters_anew() -> None:
    """One change, not two: `policy=square_root` alone must not be refused for what the old policy was told."""
    own = {"policy": "headroom", "parameters": {"factor": 1.5}, "linger_s": 1}
    assert patched(own, {"policy": "square_root"}) == {"policy": "square_root", "linger_s": 1}
    assert patched(own, {"policy": "headroom", "linger_s": 2}) == own | {"linger_s": 2}
    assert patched(own, {"policy": "slo", "parameters": {"margin": 2.0}})["parameters"] == {"margin": 2.0}
    assert patched(own, {"policy": None}) == {"linger_s": 1}
    assert patched(own, {"parameters": {"factor": None}})["parameters"] == {}


def test_a_change_is_told_field_by_field() -> None:
    assert diff({"linger_s": 60}, {"linger_s": 120}) == ["linger_s: 60 → 120"]
    assert diff({}, {"linger_s": 120}, {"linger_s": 30}) == ["linger_s: 30 (inherited) → 120"]
    assert diff({"offerings": [LARGE]}, {"offerings": [SPOT]}) == [
        "offerings: us-east-1/*/c7i.large/on_demand → us-east-1/*/m7i.large/spot"
    ]
    assert diff({"image": "ami-1"}, {}) == ["image: ami-1 → null (inherited)"]
    assert diff({"image": None}, {"scaling_enabled": False}) == [
        "scaling_enabled: true (inherited) → false",
        "image: null → null (inherited)",
    ]
    assert diff({"linger_s": 60}, {"linger_s": 60}) == []


def test_a_long_value_is_cut() -> None:
    (sentence,) = diff({}, {"offerings": [SPOT] * 20})
    assert len(sentence) < 400


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_every_policy_can_be_named_with_its_own_parameters_only(policy: str) -> None:
    assert faults(effective({}, {"policy": policy})) == []
    (fault,) = faults(effective({}, {"policy": policy, "parameters": {"no_such": 1.0}}))
    assert fault.field == "parameters.no_such"
    (fault,) = faults(effective({}, {"policy": "none"}))
    assert fault.field == "policy"


VALUES = st.none() | st.integers(0, 3) | st.dictionaries(st.sampled_from("xy"), st.none() | st.integers(0, 3))
PATCHES = st.dictionaries(st.sampled_from(["a", "b", "c"]), VALUES)


@given(PATCHES, PATCHES)
def test_a_patch_that_is_made_twice_is_made_once(document: dict[str, Any], patch: dict[str, Any]) -> None:
    """A client's retry changes nothing."""
    once = merged(document, patch)
    assert merged(once, patch) == once


@given(st.integers(0, 5000), st.integers(0, 5000), st.none() | st.integers(0, 5000))
def test_limits_that_contradict_each_other_are_found_whatever_they_are(
    low: int, high: int, desired: int | None
) -> None:
    found = faults(effective({"hosts_max": high}, {"hosts_min": low, "hosts_desired": desired}))
    good = low <= high and (desired is None or low <= desired <= high)
    assert (not found) == good


def test_a_plain_spec_makes_the_same_spec() -> None:
    spec = replace(PoolSpec(), offerings=(Offering(**SPOT), Offering(**LARGE)), parameters={"margin": 1.5})
    assert effective({}, plain(spec)) == spec
