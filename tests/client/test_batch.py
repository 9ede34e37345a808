"""`spillway batch`: rows become jobs, bad rows are told by line and field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway.errors import BadInput
from spillway.rows import CONVERT, read_rows


def write(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text)
    return name


def test_csv_columns_are_fields(run: Any, server: Any, tmp_path: Path) -> None:
    """Numbers, booleans and JSON cells become what the API wants; empty cells are not given."""
    file = write(
        tmp_path,
        "jobs.csv",
        "command,name,cpu,memory_mib,network,outputs,environment.WHO,labels\n"
        '"echo ""a, b""",first,0.5,256,yes,"[""*.txt""]",alice,"{""week"": ""1""}"\n'
        "true,,,,,,,\n",
    )
    done = run("batch", file, "--timeout", "7", "--pool", "p")
    assert done.code == 0, done.err
    first, second = (server.jobs[job_id]["spec"] for job_id in done.out.split())
    first.pop("idempotency_key")
    second.pop("idempotency_key")
    assert first == {
        "command": 'echo "a, b"',
        "name": "first",
        "cpu": 0.5,
        "memory_mib": 256,
        "network": True,
        "outputs": ["*.txt"],
        "environment": {"WHO": "alice"},
        "labels": {"week": "1"},
        "timeout_s": 7,
        "pool": "p",
    }
    assert second == {"command": "true", "timeout_s": 7, "pool": "p"}


def test_json_lines_are_specs(run: Any, server: Any, tmp_path: Path) -> None:
    file = write(tmp_path, "jobs.jsonl", '{"command": "a", "timeout_s": 3}\n\n{"command": "b"}\n')
    assert run("batch", file).code == 0
    assert [job["spec"]["timeout_s"] for job in server.jobs.values()] == [3, 300]


def test_one_bad_row_submits_nothing(run: Any, server: Any, tmp_path: Path) -> None:
    """Every bad row is told, with its line and field, before anything is sent."""
    file = write(tmp_path, "jobs.csv", 'command,cpu\ntrue,1\n,1\ntrue,many\n"two\nlines",1\ntrue,1,extra\n')
    done = run("batch", file)
    assert done.code == 2
    assert server.requests == []
    for sentence in ("line 3, command: is required", "line 4, cpu: should be a number", "line 7: has 3 cells"):
        assert sentence in done.err


def test_skip_bad_submits_the_others(run: Any, server: Any, tmp_path: Path) -> None:
    """Also those that only the server finds bad."""
    file = write(tmp_path, "jobs.csv", "command,cpu\ntrue,1\n,1\ntrue,-1\nfalse,1\n")
    done = run("batch", file, "--skip-bad", "--json")
    assert done.code == 0, done.err
    assert [item["spec"]["command"] for item in done.json()["items"]] == ["true", "false"]
    assert [problem["field"] for problem in done.json()["skipped"]] == ["line 3, command", "line 4, cpu"]
    assert len(server.jobs) == 2


def test_what_the_server_refuses_is_told_by_line(run: Any, server: Any, tmp_path: Path) -> None:
    file = write(tmp_path, "jobs.jsonl", '{"command": "a"}\n{"command": "b", "colour": "red"}\n')
    done = run("batch", file)
    assert done.code == 2
    assert "line 2, colour: is not a field of a job" in done.err
    assert server.jobs == {}


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("jobs.csv", "command,colour\ntrue,red\n", "unknown columns 'colour'"),
        ("jobs.csv", "command,command\ntrue,true\n", "a column twice"),
        ("jobs.csv", "", "holds no job"),
        ("jobs.csv", 'command\n"open\n', "line"),
        ("jobs.jsonl", "nonsense\n", "line 1: is not JSON"),
        ("jobs.jsonl", "[1]\n", "line 1: should be a JSON object"),
        ("jobs.jsonl", '{"command": 7}\n', "line 1, command: should be a text"),
    ],
)
def test_a_file_that_is_none_says_so(run: Any, tmp_path: Path, name: str, text: str, sentence: str) -> None:
    done = run("batch", write(tmp_path, name, text))
    assert done.code == 2
    assert sentence in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(("state", "code"), [("succeeded", 0), ("failed", 1)])
def test_a_waited_batch_decides_the_exit_code(run: Any, server: Any, tmp_path: Path, state: str, code: int) -> None:
    server.on_look = lambda job: server.finish(job["id"], state)
    done = run("batch", write(tmp_path, "jobs.csv", "command\ntrue\ntrue\n"), "--wait")
    assert done.code == code
    assert done.out.count(state) == 2


def test_a_file_that_is_not_text_says_so(tmp_path: Path) -> None:
    (tmp_path / "jobs.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match="cannot be read"):
        read_rows(tmp_path / "jobs.csv", {})


@given(st.binary(max_size=200), st.sampled_from([".csv", ".jsonl"]))
def test_any_file_is_rows_or_a_sentence(tmp_path_factory: pytest.TempPathFactory, content: bytes, kind: str) -> None:
    """Whatever the bytes are: rows, problems with lines, or BadInput - nothing else."""
    file = tmp_path_factory.getbasetemp() / f"fuzz{kind}"
    file.write_bytes(content)
    try:
        rows = read_rows(file, {})
    except BadInput:
        return
    assert all(row.problems or row.spec.get("command") or row.spec.get("family") for row in rows)


@given(st.sampled_from(sorted(CONVERT)), st.text(min_size=1, max_size=20))
def test_a_cell_converts_or_says_what_it_should_be(column: str, cell: str) -> None:
    """Never another error than the one that becomes `line N, column: …`."""
    complaint = "should be"
    try:
        CONVERT[column](cell)
    except ValueError as error:
        complaint = str(error)
    assert complaint.startswith("should be")
