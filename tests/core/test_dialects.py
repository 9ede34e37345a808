"""What a message on the submissions queue says."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core import jobdetails, prairielearn
from chalicelib.core.dialects import Dialect, recognise
from chalicelib.core.job import Finish, Job, JobState
from chalicelib.core.job_spec import JobSpec
from chalicelib.errors import BadRequest

GRADING: dict[str, Any] = {
    "jobId": "7",
    "image": "prairielearn/grader-c",
    "entrypoint": "/grade/serverFilesCourse/run me.sh --fast",
    "s3Bucket": "b",
    "s3RootKey": "job_7",
    "timeout": 29.5,
    "enableNetworking": False,
    "environment": {"A": "1", "B": None},
}
TIMES = prairielearn.Times(received="r", started="s", ended="e")


@pytest.mark.parametrize(
    ("body", "dialect"),
    [
        ('{"command": "true", "timeout_s": 5}', Dialect.JOB),
        ('{"jobs": []}', Dialect.BATCH),
        ('{"job": {}, "count": 5}', Dialect.ARRAY),
        (json.dumps(GRADING), Dialect.PRAIRIELEARN),
        ('{"again": {}}', Dialect.AGAIN),
        ("instance_type,command\nt2.small,true\n", Dialect.JOBDETAILS),
        ("t2.small,true", Dialect.JOBDETAILS),
        ('{"command": ', Dialect.JOB),
        ("[1]", Dialect.JOB),
        ("[" * 100_000, Dialect.JOB),
    ],
)
def test_the_shape_says_the_dialect(body: str, dialect: Dialect) -> None:
    assert recognise(body).dialect is dialect


@given(st.text(max_size=200))
def test_no_message_makes_the_reader_stumble(body: str) -> None:
    """Whatever somebody sends, it is some dialect, and refused in words if it is a wrong one."""
    if recognise(body).dialect is Dialect.JOBDETAILS:
        with suppress(BadRequest):
            assert all(isinstance(row, dict) for row in jobdetails.read(body))


def test_jobdetails_are_a_job_a_row() -> None:
    """Header or not, quoted commas, further columns, empty cells and lines; the byte order mark of a spreadsheet."""
    text = '\ufeffinstance_type,command,timeout_s,cpu\r\nt2.small,"julia w.jl --seed 1,2",60,\r\n\r\n,true,5,2.5\r\n'
    assert jobdetails.read(text) == [
        {"instance_types": ["t2.small"], "command": "julia w.jl --seed 1,2", "timeout_s": 60},
        {"command": "true", "timeout_s": 5, "cpu": 2.5},
    ]
    assert jobdetails.read("t2.small,julia w.jl") == [{"instance_types": ["t2.small"], "command": "julia w.jl"}]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is empty"),
        ("instance_type,command\n", "no rows"),
        ("instance_type,command\na,b,c\n", "row 1 has 3 cells"),
        ("command,colour\na,b\n", "colour is no column"),
        ("command,timeout_s\na,soon\n", "row 1, timeout_s must be a number"),
        ("instance_type,command\nt2.small,\n", "row 1 has no command"),
        ("command,command\na,b\n", "twice"),
        ("command\n" + "a\n" * 501, "501 rows"),
        (
            'command\n"echo one\necho two\n',
            "a quoted cell does not end",
        ),  # else the rows after it are lost in its command
        ("instance_type,comand\nt2.small,a\n", "the header has no column `command`"),
        ("instance_type;command\nt2.small;a\n", "separated by commas"),
        ("hello", "is neither JSON nor a header and rows"),
    ],
)
def test_a_bad_csv_is_refused_by_row_and_column(text: str, sentence: str) -> None:
    with pytest.raises(BadRequest, match=sentence):
        jobdetails.read(text)


def test_a_grading_message_becomes_a_job() -> None:
    """Its words are arguments, never shell; what is null is not there; a broken second is a whole one."""
    row = prairielearn.document(prairielearn.read(GRADING))
    assert (row["adapter"], row["command"]) == ("prairielearn", "/grade/serverFilesCourse/run me.sh --fast")
    assert row["environment"] == {"A": "1"}
    assert (row["timeout_s"], row["archive"], row["network"]) == (30, True, False)
    assert row["inputs"] == [{"path": ".", "s3": "s3://b/job_7/job.tar.gz", "unpack": True}]
    hostile = prairielearn.document(prairielearn.read({**GRADING, "entrypoint": "/grade/x;$(reboot)"}))
    assert hostile["command"] == "'/grade/x;$(reboot)'"


@pytest.mark.parametrize(
    ("over", "field"),
    [
        ({"entrypoint": None}, "entrypoint"),
        ({"entrypoint": " "}, "entrypoint"),
        ({"timeout": None}, "timeout"),
        ({"timeout": "5"}, "timeout"),
        ({"timeout": True}, "timeout"),
        ({"jobId": None}, "jobId"),
        ({"s3RootKey": ""}, "s3RootKey"),
        ({"s3RootKey": "/x"}, "s3RootKey"),
        ({"environment": {"A": 1}}, "environment"),
        ({"environment": []}, "environment"),
        ({"enableNetworking": "yes"}, "enableNetworking"),
    ],
)
def test_a_grading_message_that_cannot_be_used_is_refused_by_field(over: dict[str, Any], field: str) -> None:
    with pytest.raises(BadRequest) as caught:
        prairielearn.read({**GRADING, **over})
    assert field in [fault.field for fault in caught.value.faults]


def graded(state: JobState = JobState.SUCCEEDED, reason: str = "exit code 0") -> Job:
    spec = JobSpec(command="x", timeout_s=30)
    finish = Finish(outcome="succeeded", reason=reason, finished_at=9.0)
    return Job(
        id="job-1", pool="p", owner="o", spec=spec, state=state, submitted_at=1.0, reason=reason, finish=finish, origin={"job": "7"}
    )  # fmt: skip


@pytest.mark.parametrize(
    ("state", "body", "size", "succeeded", "message"),
    [
        (JobState.SUCCEEDED, b'{"score": 1}', 12, True, None),
        (JobState.SUCCEEDED, None, 0, False, "Could not read grading results."),
        (JobState.SUCCEEDED, b"{", 1, False, "Could not parse the grading results."),
        (JobState.SUCCEEDED, b'{"score": NaN}', 1, False, "Could not parse the grading results."),
        (JobState.SUCCEEDED, b"[" * 100_000, 1, False, "Could not parse the grading results."),
        (JobState.SUCCEEDED, b"\xff", 1, False, "Could not parse the grading results."),
        (JobState.SUCCEEDED, None, 1024 * 1024 + 1, False, "larger than 1MB"),
        (JobState.TIMED_OUT, None, 0, False, "did not complete within the time limit of 30 seconds"),
        (JobState.FAILED, None, 0, False, "has not succeeded (failed)"),
        (JobState.LOST, None, 0, False, "not the fault of the submission"),
        (JobState.CANCELLED, None, 0, False, "not the fault of the submission"),
        (JobState.SKIPPED, None, 0, False, "not the fault of the submission"),
    ],
)
def test_every_end_is_an_answer(
    state: JobState, body: bytes | None, size: int, succeeded: bool, message: str | None
) -> None:
    """`succeeded` is there in all of them, as PrairieLearn wants it; without it nobody is graded, and a sentence says why."""
    results = prairielearn.results(graded(state), TIMES, body, size)
    assert results["succeeded"] is succeeded
    assert (results["results"] is not None) is succeeded
    if message is None:
        assert "message" not in results
    else:
        assert message in results["message"]


def test_nul_is_spelt_out_and_long_results_travel_by_s3() -> None:
    results = prairielearn.results(graded(), TIMES, json.dumps({"a\0": ["\0", {"b": "x\0"}]}).encode(), 9)
    assert results["results"] == {"a\0": ["\\u0000", {"b": "x\\u0000"}]}
    small, large = {"a": "x" * 1000}, {"a": "x" * 250 * 1024}
    assert prairielearn.result_message("7", small)["data"] == small
    assert "data" not in prairielearn.result_message("7", large)


def test_results_that_are_nested_too_deep_to_be_written_again_are_told_as_such() -> None:
    """Else the telling would fail at each try, and PrairieLearn wait for ever."""
    body = b"[" * 300 + b"]" * 300
    assert prairielearn.results(graded(), TIMES, body, len(body))["message"] == "Could not parse the grading results."
