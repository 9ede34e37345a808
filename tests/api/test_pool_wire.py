"""What operators say of pools: sparse, typed, and refused with the field's name where it cannot be."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.api import pool_wire, wire, wire_words
from chalicelib.core.pool import PoolSpec
from chalicelib.core.settings import effective, plain
from chalicelib.errors import BadRequest


def decoded(document: Any) -> pool_wire.PoolSpecWire:
    return wire.decode(json.dumps(document).encode(), pool_wire.PoolSpecWire)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"offerings": []}, "offerings"),
        ({"offerings": None}, "offerings"),
        ({"offerings": [{"region": "us-east-1", "instance_type": "z9.huge"}]}, "offerings[0].instance_type"),
        ({"offerings": [{"region": "mars", "instance_type": "c7i.large"}]}, "offerings[0].region"),
        ({"offerings": [{"region": "us-esat-1", "instance_type": "c7i.large"}]}, "offerings[0].region"),
        (
            {"offerings": [{"region": "us-east-1", "instance_type": "c7i.large", "zone": "us-west-2a"}]},
            "offerings[0].zone",
        ),
        ({"hosts_min": 9, "hosts_max": 3}, "hosts_min"),
        ({"share_hosts": True, "sandbox": "none"}, "share_hosts"),
        ({"hosts_min": 21}, "hosts_min"),
        ({"hosts_desired": 21}, "hosts_desired"),
        ({"hosts_desired": 1, "hosts_min": 2}, "hosts_desired"),
        ({"hosts_max": 5001}, "hosts_max"),
        ({"sandbox": "podman"}, "sandbox"),
        ({"container_image": "--privileged"}, "container_image"),
        ({"linger_s": -1}, "linger_s"),
        ({"linger_s": None}, "linger_s"),
        ({"linger": 5}, "linger"),
        ({"ping_every_s": 100}, "missed_pings_s"),
        ({"ping_every_s": 90, "unreachable_max_s": 60}, "unreachable_max_s"),
        ({"ping_every_s": 40, "idle_max_s": 30}, "idle_max_s"),
        ({"rolling_share": 0}, "rolling_share"),
        ({"rolling_share": 1.01}, "rolling_share"),
        ({"placement": "best"}, "placement"),
        ({"estimated_s": 0}, "estimated_s"),
        ({"budget_usd_h": -1}, "budget_usd_h"),
        ({"image": "ubuntu"}, "image"),
        ({"image": "ami-12345678\n"}, "image"),
        ({"launch_template": "a b"}, "launch_template"),
        ({"launch_template": "name:"}, "launch_template"),
        ({"launch_template": "name:two"}, "launch_template"),
        ({"scaling_enabled": "no"}, "scaling_enabled"),
        ({"parameters": {"factor": "two"}}, "parameters[...]"),
        ({"parameters": [1]}, "parameters"),
        ({"jobs_per_person_h": -0.1}, "jobs_per_person_h"),
    ],
)
def test_a_pools_mistake_is_named_by_its_field(change: dict[str, Any], field: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        pool_wire.pool_spec(decoded(change))
    assert refusal.value.faults[0].field == field
    assert refusal.value.detail


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"offerings": []}, "offerings: must have at least 1 entry"),
        ({"offerings": "c7i.large"}, "offerings: must be a list, not text"),
        ({"offerings": [{"region": "us-east-1"}]}, "offerings[0].instance_type: is required"),
        ({"linger_s": 1.5}, "linger_s: must be a whole number, not one with a fraction"),
        ({"linger_s": -1}, "linger_s: must be at least 0"),
        ({"estimated_s": 0}, "estimated_s: must be more than 0"),
        ({"image": "ubuntu"}, "image: must be an image's id, such as ami-0123456789abcdef0"),
        ({"sandbox": "podman"}, "sandbox: must be auto, bwrap, docker or none, not 'podman'"),
        ({"hosts_desired": "3"}, "hosts_desired: must be a whole number or null, not text"),
        ({"types": {"x": {}}}, "types: must be named like an instance type, such as c9i.large"),
    ],
)
def test_a_refusal_is_in_words_and_not_in_pythons(change: dict[str, Any], sentence: str) -> None:
    """Whoever reads it typed settings, and needs to know what should stand there."""
    with pytest.raises(BadRequest) as refusal:
        decoded(change)
    assert refusal.value.detail == sentence


def test_every_pattern_and_every_choice_of_words_is_told_in_words() -> None:
    """A field with a new one needs a line in LOOKS."""
    structs = [
        struct
        for file in sorted((Path(__file__).parents[2] / "chalicelib" / "api").glob("*wire.py"))
        for module in [import_module(f"chalicelib.api.{file.stem}")]
        for struct in vars(module).values()
        if isinstance(struct, type) and issubclass(struct, wire.Strict)
    ]
    assert len(structs) > 8
    lacking = {
        field.name
        for struct in structs
        for field in msgspec.structs.fields(struct)
        if re.search(r"pattern='|Literal\[", str(field.type)) and field.name not in wire_words.LOOKS
    }
    assert not lacking


def test_one_image_cannot_serve_two_regions() -> None:
    two = [{"region": r, "instance_type": "c7i.large"} for r in ("us-east-1", "eu-central-1")]
    with pytest.raises(BadRequest, match="image: is ami-12345678, but an image lives in one region"):
        pool_wire.pool_spec(decoded({"image": "ami-12345678", "offerings": two}))


def test_every_field_of_a_spec_can_be_set_and_no_other() -> None:
    """A new setting that the wire does not know could never be changed."""
    assert set(pool_wire.PoolSpecWire.__struct_fields__) == {f.name for f in fields(PoolSpec)}


def test_our_own_defaults_are_within_the_bounds() -> None:
    """What `GET` shows can be sent back whole, and means the same."""
    assert pool_wire.pool_spec(decoded(plain(PoolSpec()))) == PoolSpec()


def test_what_was_left_out_is_not_what_was_said() -> None:
    """A default that was said stays when the stage's default changes; null, where it means something, can be said too."""
    assert pool_wire.document(decoded({})) == {}
    said = pool_wire.document(decoded({"linger_s": 60, "image": None}))
    assert said == {"linger_s": 60, "image": None}
    stage = {"linger_s": 5, "image": "ami-12345678", "hosts_max": 7}
    spec = effective(stage, said)
    assert (spec.linger_s, spec.image, spec.hosts_max) == (60, None, 7)


@pytest.mark.parametrize("template", ["graders", "graders:3", "graders:$Latest", "team(a)/graders_1.2-x:$Default"])
def test_a_launch_template_is_a_name_and_perhaps_a_version(template: str) -> None:
    assert pool_wire.pool_spec(decoded({"launch_template": template})).launch_template == template


def test_a_patch_holds_values_and_what_is_taken_back() -> None:
    body = b'{"linger_s": 5, "image": null, "parameters": {"factor": 2, "floor": null}, "offerings": null}'
    assert pool_wire.patch(body) == {
        "linger_s": 5,
        "image": None,
        "offerings": None,
        "parameters": {"factor": 2.0, "floor": None},
    }


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"linger": null}', "linger"),
        (b'{"linger_s": -1}', "linger_s"),
        (b'{"parameters": {"factor": "x", "floor": null}}', "parameters[...]"),
        (b"[]", ""),
        (b"null", ""),
        (b"{", ""),
        (b"\xff", ""),
    ],
)
def test_a_patchs_mistake_is_named_by_its_field(body: bytes, field: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        pool_wire.patch(body)
    assert refusal.value.faults[0].field == field


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
names = st.sampled_from([*pool_wire.PoolSpecWire.__struct_fields__, "other"])


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(names, json_values, max_size=5))
def test_any_document_is_a_spec_a_patch_or_a_refusal_with_a_sentence(document: dict[str, Any]) -> None:
    for make in (lambda: pool_wire.pool_spec(decoded(document)), lambda: pool_wire.patch(json.dumps(document))):
        refusal, made = None, None
        try:
            made = make()
        except BadRequest as error:
            refusal = error
        assert refusal.detail if refusal else made is not None


@pytest.mark.parametrize(
    ("said", "epoch"),
    [
        ("2026-12-01T14:00:00+01:00", 1_796_130_000.0),
        ("2026-12-01T13:00:00Z", 1_796_130_000.0),
        (1_796_130_000, 1_796_130_000.0),
        (1_796_130_000.5, 1_796_130_000.5),
    ],
)
def test_a_bookings_times_are_iso_with_a_zone_or_epoch_seconds(said: Any, epoch: float) -> None:
    document = {"title": "exam", "starts_at": said, "ends_at": 1_796_140_000, "people": 300}
    booking = pool_wire.booking("exam", wire.decode(json.dumps(document), pool_wire.BookingWire))
    assert booking.starts_at == epoch


@pytest.mark.parametrize(
    ("booking_id", "change", "field"),
    [
        ("exam", {"starts_at": "2026-12-01T14:00:00"}, "starts_at"),
        ("exam", {"starts_at": "tomorrow"}, "starts_at"),
        ("exam", {"ends_at": 1_796_130_000_000}, "ends_at"),  # milliseconds
        ("exam", {"ends_at": "9999-12-31T23:59-23:59"}, "ends_at"),  # in UTC a year that no calendar has
        ("exam", {"ends_at": "2100-01-01T01:00Z"}, "ends_at"),
        ("exam", {"starts_at": "0001-01-01T00:00+23:59"}, "starts_at"),
        ("exam", {"people": -1}, "people"),
        ("exam", {"title": ""}, "title"),
        ("exam", {"room": "R1"}, "room"),
        ("../exam", {}, "id"),
        ("exam\n", {}, "id"),
    ],
)
def test_a_bookings_mistake_is_named_by_its_field(booking_id: str, change: dict[str, Any], field: str) -> None:
    good = {"title": "exam", "starts_at": 1_796_130_000, "ends_at": 1_796_140_000, "people": 300}
    with pytest.raises(BadRequest) as refusal:
        pool_wire.booking(booking_id, wire.decode(json.dumps(good | change), pool_wire.BookingWire))
    assert refusal.value.faults[0].field == field


@pytest.mark.parametrize(("header", "version"), [(None, None), ("*", None), ('"7"', 7), ('W/"7"', 7), (' "7" ', 7)])
def test_if_match_names_a_version(header: str | None, version: int | None) -> None:
    assert pool_wire.version_of(header) == version


@pytest.mark.parametrize("header", ["7", '"seven"', "", '"7", "8"', '"-1"'])
def test_an_if_match_that_names_none_is_refused(header: str) -> None:
    """To take it as "no condition" would overwrite what the caller wanted to spare."""
    with pytest.raises(BadRequest, match="If-Match"):
        pool_wire.version_of(header)


def test_brackets_without_end_are_no_json() -> None:
    """The decoder gives up at some depth with an error of Python's own, which would be our mistake and not the sender's."""
    deep = b'{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}"
    with pytest.raises(BadRequest, match="not a JSON object"):
        pool_wire.patch(deep)
    for type_ in (pool_wire.PoolSpecWire, pool_wire.InterestWire):
        with pytest.raises(BadRequest):
            wire.decode(deep, type_)
