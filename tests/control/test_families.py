"""Families: versions, defaults under what a job says, parameters by schema."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from town import Town

from chalicelib.api import job_wire
from chalicelib.api.family_wire import FamilyWire, family
from chalicelib.api.wire import convert
from chalicelib.control import families, parameters
from chalicelib.control.families import resolve
from chalicelib.core.family import Family
from chalicelib.errors import BadRequest, PreconditionFailed

GRADING: dict[str, Any] = {
    "defaults": {
        "command": "./grade.sh",
        "timeout_s": 60,
        "environment": {"LANG": "C", "MODE": "quick"},
        "inputs": [{"path": "tests", "sha256": "a" * 64, "unpack": True}],
        "outputs": ["report.html"],
    },
    "schema": {
        "properties": {
            "student": {"type": "string", "pattern": "^[a-z]+$"},
            "tries": {"type": "integer", "minimum": 1, "maximum": 5, "default": 3},
        },
        "required": ["student"],
        "additionalProperties": False,
    },
    "source": {"url": "https://git.example.org/course.git", "branch": "main", "token": "ssm:git-token"},
}


def made(document: dict[str, Any], name: str = "grading") -> Family:
    return family(name, convert(document, FamilyWire), by="olga")


@pytest.fixture
def town() -> Town:
    town = Town()
    families.put(town.plane, made(GRADING))
    return town


def test_what_the_job_says_stands_and_the_rest_is_the_familys(town: Town) -> None:
    """Maps are joined name by name, inputs and outputs come beside, the source is one more input, the version is recorded."""
    spec = resolve(
        town.plane,
        {
            "family": "grading",
            "timeout_s": 5,
            "parameters": {"student": "alice"},
            "environment": {"MODE": "full"},
            "inputs": [{"path": "work.py", "text": "1"}],
            "outputs": ["log.txt", "report.html"],
        },
    )
    assert (spec.command, spec.timeout_s, spec.family_version) == ("./grade.sh", 5, 1)
    assert spec.environment == {"LANG": "C", "MODE": "full"}
    assert spec.parameters == {"student": "alice", "tries": 3}
    assert [i.path for i in spec.inputs] == ["source", "tests", "work.py"]
    assert [w.glob for w in spec.outputs] == ["report.html", "log.txt"]
    assert spec.inputs[0].git is not None
    assert spec.inputs[0].git.token == "ssm:git-token"


def test_an_input_of_the_same_path_replaces_the_familys(town: Town) -> None:
    document = {"family": "grading", "parameters": {"student": "bob"}, "inputs": [{"path": "tests", "text": "none"}]}
    assert [(i.path, i.text) for i in resolve(town.plane, document).inputs] == [("source", None), ("tests", "none")]


def test_a_job_runs_the_version_it_names(town: Town) -> None:
    """Every version is kept; without a name it is the newest. The same document again is no new one."""
    assert families.put(town.plane, made(GRADING)).version == 1
    slower = {**GRADING, "defaults": {**GRADING["defaults"], "timeout_s": 90}}
    assert families.put(town.plane, made(slower), version=1).version == 2
    job = {"family": "grading", "parameters": {"student": "eve"}}
    assert [resolve(town.plane, {**job, **v}).timeout_s for v in ({}, {"family_version": 1})] == [90, 60]
    with pytest.raises(PreconditionFailed, match="at version 2, not 1"):
        families.put(town.plane, made(GRADING), version=1)


@pytest.mark.parametrize(
    ("said", "field", "words"),
    [
        ({}, "parameters.student", "is required"),
        ({"parameters": {"student": "Alice"}}, "parameters.student", "pattern"),
        ({"parameters": {"student": "a", "tries": 9}}, "parameters.tries", "smaller than or equal to 5"),
        ({"parameters": {"student": "a", "more": 1}}, "parameters.more", "is not known here; known are student, tries"),
        ({"family_version": 7}, "family_version", "has no version 7"),
        ({"family": "other"}, "family", "no family named 'other'"),
        ({"family": None, "command": "true", "timeout_s": 1, "family_version": 1}, "family_version", "needs a family"),
    ],
)
def test_what_a_family_does_not_take_is_refused_by_field(
    town: Town, said: dict[str, Any], field: str, words: str
) -> None:
    with pytest.raises(BadRequest) as refused:
        resolve(town.plane, {"family": "grading", **said}, "jobs[3].")
    assert refused.value.faults[0].field == f"jobs[3].{field}"
    assert words in refused.value.faults[0].message


@pytest.mark.parametrize(
    ("schema", "field"),
    [
        ({"$ref": "http://169.254.169.254/latest"}, "schema.$ref"),
        ({"properties": {"a": {"$ref": "#/x"}}}, "schema.properties.a.$ref"),
        ({"anyOf": [{"format": "uri"}]}, "schema.anyOf[0].format"),
        ({"type": "array"}, "schema.type"),
        ({"properties": {"a": {"type": "text"}}}, "schema"),
        ({"properties": {"a": {"pattern": "("}}}, "schema"),
        ({"properties": {"a": {"pattern": "x" * 201}}}, "schema.properties.a.pattern"),
        ({"properties": []}, "schema.properties"),
        ({"items": 3}, "schema.items"),
    ],
    ids=str,
)
def test_a_schema_holds_only_what_is_safe_to_compile(schema: dict[str, Any], field: str) -> None:
    """It becomes code: nothing is fetched for it, and what it cannot mean is said when it is written, not when a job comes."""
    with pytest.raises(BadRequest) as refused:
        families.put(Town().plane, made({"schema": schema}))
    assert refused.value.faults[0].field == field


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(schema=st.dictionaries(st.sampled_from(sorted(parameters.WORDS)), json_values, max_size=4), given_=json_values)
def test_any_schema_is_refused_or_checks_anything(schema: dict[str, Any], given_: Any) -> None:
    """Whatever an operator writes: a sentence, never another exception - and never code that it smuggled in."""
    try:
        parameters.must_be_schema(schema, "schema")
    except BadRequest:
        return
    with suppress(BadRequest):
        parameters.checked(Family(name="f", version=1, schema=schema), {"a": given_}, "parameters")


@pytest.mark.parametrize("field", ["family", "not_before", "after", "idempotency_key", "family_version"])
def test_what_only_a_job_can_say_is_refused_of_a_family(field: str) -> None:
    value: Any = {"after": ["job-1"], "not_before": 5, "family_version": 2}.get(field, "x")
    with pytest.raises(BadRequest, match=f"defaults.{field}"):
        made({"defaults": {field: value}})


def test_defaults_are_checked_like_a_job() -> None:
    with pytest.raises(BadRequest, match=r"defaults\.inputs\[0\]"):
        made({"defaults": {"inputs": [{"path": "x"}]}})
    with pytest.raises(BadRequest, match=r"source\.inputs\[0\]\.path"):
        made({"source": {"url": "https://x.example/y", "path": "../up"}})


def test_a_document_without_family_is_left_as_it_is(town: Town) -> None:
    document = convert({"command": "true", "timeout_s": 5}, job_wire.JobSpecWire)
    assert families.apply(town.plane, document) is document


def test_zones_do_not_come_from_the_machine() -> None:
    """Lambda's image promises none: with no zones on the machine, those that are packed are found."""
    code = "from zoneinfo import ZoneInfo; print(ZoneInfo('Europe/Berlin').key)"
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONTZPATH": ""}, capture_output=True, text=True)
    assert done.stdout.strip() == "Europe/Berlin", done.stderr


def test_a_number_that_a_schema_cannot_be_asked_about_is_refused() -> None:
    """It may be too large to be divided; and nothing can be divided by nothing."""
    schema = {"type": "object", "properties": {"a": {"multipleOf": 0.01}}}
    with pytest.raises(BadRequest, match="cannot be tried against"):
        parameters.checked(Family(name="f", version=1, schema=schema), {"a": 10**400}, "parameters")
    with pytest.raises(BadRequest, match="more than 0"):
        parameters.must_be_schema({"properties": {"a": {"multipleOf": 0}}}, "schema")
