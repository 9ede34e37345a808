"""Bad input: a sentence that names the field, for every kind of mistake; nothing else ever comes out of decoding."""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.api import job_view, job_wire, wire
from chalicelib.core.job import Job, JobState
from chalicelib.errors import BadRequest, TooLarge

GOOD = {"command": "true", "timeout_s": 5}


def faults(document: Any) -> list[tuple[str, str]]:
    with pytest.raises(BadRequest) as refusal:
        job_wire.job_spec(wire.decode(json.dumps(document).encode(), job_wire.JobSpecWire))
    assert refusal.value.detail
    return [(f.field, f.message) for f in refusal.value.faults]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"cpu": "two"}, "cpu"),
        ({"cpu": -1}, "cpu"),
        ({"cpu": 0}, "cpu"),
        ({"memory_mib": 1.5}, "memory_mib"),
        ({"memory_mib": -512}, "memory_mib"),
        ({"slots": 0}, "slots"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"timeout_s": None}, "timeout_s"),
        ({"priority": 10}, "priority"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"memory": 512}, "memory"),
        ({"command": ""}, "command"),
        ({"command": None}, "command"),
        ({"pool": "no such name"}, "pool"),
        ({"command": "a\0b"}, "command"),
        ({"environment": {"A": "\0"}}, "environment.A"),
        ({"environment": {"A": 1}}, "environment[...]"),
        ({"environment": {"1A": "x"}}, "environment.1A"),
        ({"inputs": [{"path": "x"}]}, "inputs[0]"),
        ({"inputs": [{"path": "/etc/passwd", "text": "x"}]}, "inputs[0].path"),
        ({"inputs": [{"path": "a/../../b", "text": "x"}]}, "inputs[0].path"),
        ({"inputs": [{"path": "x", "sha256": "abc"}]}, "inputs[0].sha256"),
        ({"inputs": [{"path": "x", "text": "x", "mode": 7}]}, "inputs[0].mode"),
        ({"outputs": ["../x"]}, "outputs[0]"),
        ({"result": "/tmp/x"}, "result"),
        ({"untrusted": "no"}, "untrusted"),
        ({"idempotency_key": ""}, "idempotency_key"),
        ({"owner": "x\n"}, "owner"),
        ({"pool": "default\n"}, "pool"),
        ({"environment": {"A\n": "x"}}, "environment.A\n"),
        ({"environment": {f"A{n}": "x" * 8000 for n in range(9)}}, "environment"),
        ({"inputs": [{"path": "x", "sha256": "0" * 64 + "\n"}]}, "inputs[0].sha256"),
    ],
)
def test_a_mistake_is_named_by_its_field(change: dict[str, Any], field: str) -> None:
    assert [name for name, _ in faults(GOOD | change)] == [field]


def test_a_wrong_choice_is_told_what_to_say_instead() -> None:
    """In words, not in the pattern that it broke; also below the names of a mapping. What is no secret's name is not repeated."""
    assert faults(GOOD | {"secrets": {"KEY": "hunter2"}}) == [
        ("secrets[...]", "must be a secret's name, such as ssm:grader-token or secretsmanager:grader-token")
    ]
    with pytest.raises(BadRequest, match=r"state\[0\]: must be one of scheduled, blocked, pending, .*, not 'faild'"):
        wire.decode(b'{"state": ["faild"]}', job_wire.JobsQuery)


def test_what_is_missing_is_named() -> None:
    assert faults({"command": "true"}) == [("timeout_s", "is required")]


def test_a_fault_in_a_batch_says_which_job() -> None:
    with pytest.raises(BadRequest) as refusal:
        wire.decode(json.dumps({"jobs": [GOOD, GOOD | {"cpu": "x"}]}).encode(), job_wire.BatchWire)
    assert refusal.value.faults[0].field == "jobs[1].cpu"


@pytest.mark.parametrize("body", [b"", b"{", b"null", b"[]", b'"x"', b"\xff\xfe", b'{"command": "\xff"}', b"1e999"])
def test_what_is_not_a_document_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        wire.decode(body, job_wire.JobSpecWire)


def test_a_body_over_the_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(TooLarge, match="at most 131072"):
        wire.decode(b" " * 131_073, job_wire.JobSpecWire)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
fields = st.sampled_from([*job_wire.JobSpecWire.__struct_fields__, "other"])


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(fields, json_values, max_size=6))
def test_any_document_is_either_a_job_or_a_refusal_with_a_sentence(document: dict[str, Any]) -> None:
    refusal, spec = None, None
    try:
        spec = job_wire.job_spec(wire.decode(json.dumps(GOOD | document).encode(), job_wire.JobSpecWire))
    except BadRequest as error:
        refusal = error
    assert refusal.detail if refusal else spec and spec.command


def test_the_answer_to_the_largest_batch_passes_through_lambda() -> None:
    """An answer over 6 MB is an error to the client, who would submit the recorded jobs again."""
    labels = {f"k{i}{'a' * 60}": "v" * 256 for i in range(20)}  # said twice in a Job
    one = {"command": "x", "timeout_s": 5, "labels": labels}
    size = len(msgspec.json.encode(one)) + 1
    body = msgspec.json.encode({"jobs": [one] * min(job_wire.BATCH_MAX, job_wire.BATCH_BYTES_MAX // size - 1)})
    specs = [job_wire.job_spec(d) for d in wire.decode(body, job_wire.BatchWire, job_wire.BATCH_BYTES_MAX).jobs]
    jobs = [
        Job(id=f"job-{i:026d}", pool="p", owner="o", spec=s, state=JobState.PENDING, submitted_at=1.0)
        for i, s in enumerate(specs)
    ]
    text = wire.to_json({"items": [job_view.job(job) for job in jobs]})
    assert len(msgspec.json.encode({"statusCode": 201, "body": text})) < 6_000_000


def test_a_job_takes_some_cpu_that_can_be_counted() -> None:
    """DynamoDB keeps no number below 1e-130: neither a job that asks for less nor its place on a host could be written."""
    with pytest.raises(BadRequest, match=r"cpu: must be at least 0\.001"):
        wire.decode(b'{"command": "x", "timeout_s": 5, "cpu": 1e-200}', job_wire.JobSpecWire)


@pytest.mark.parametrize(("levels", "taken"), [(100, True), (101, False), (985, False)])
def test_parameters_are_nested_no_deeper_than_all_on_their_way_can_read(levels: int, taken: bool) -> None:
    """A pass that hands such a job over would fail on it each time: its pool would stand still for everybody."""
    inner = "[" * (levels - 1) + "]" * (levels - 1)
    body = f'{{"command": "x", "timeout_s": 5, "parameters": {{"a": {inner}}}}}'
    with nullcontext() if taken else pytest.raises(BadRequest, match="nested"):
        assert job_wire.job_spec(wire.decode(body.encode(), job_wire.JobSpecWire)).parameters


def test_no_job_of_a_batch_or_an_array_is_larger_than_its_row_can_be() -> None:
    """The whole of them may be megabytes; and DynamoDB refuses a row of more than 400 KB, at the job's end at the latest."""
    inputs = [{"path": f"p{n}", "text": "x" * 65_000} for n in range(3)]
    batch = wire.decode(
        json.dumps({"jobs": [GOOD | {"inputs": inputs}]}).encode(), job_wire.BatchWire, job_wire.BATCH_BYTES_MAX
    )
    with pytest.raises(BadRequest, match=r"jobs\[0\]\.inputs: are too much"):
        job_wire.job_spec(batch.jobs[0], "jobs[0].")
    batch = wire.convert({"jobs": [GOOD | {"inputs": inputs[:2]}]}, job_wire.BatchWire)
    assert len(job_wire.job_spec(batch.jobs[0]).inputs) == 2


def test_half_a_character_of_another_dialect_is_taken() -> None:
    """Its tables write "?" for it: a grading message is not refused for what a student typed."""
    said = wire.convert(GOOD | {"environment": {"A": "\ud800"}}, job_wire.JobSpecWire)
    assert job_wire.job_spec(said).environment == {"A": "\ud800"}
