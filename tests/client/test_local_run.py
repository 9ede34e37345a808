"""A job on this machine: the hosts' own agent runs it, so it ends as it would on a host."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from agent import cgroups
from spillway.cli import app
from spillway.errors import BadInput
from spillway.graders import grading
from spillway.local_run import of_document, of_family, run

GRADING = Path(__file__).resolve().parents[2] / "examples" / "grading"


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Whatever a run makes for itself is made in here, and must be gone afterwards."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    assert list(folder.iterdir()) == []


def ended(tmp_path: Path, command: str, **fields: Any) -> Any:
    return run(of_document({"command": command, "timeout_s": 20, **fields}, []), tmp_path / "out")


def test_a_family_runs_with_its_parameters_and_files(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "one").write_text("1")
    (tmp_path / "family.json").write_text(
        json.dumps(
            {
                "defaults": {
                    "command": "cp parameters.json result.json; cat tests/one > kept.txt; echo said",
                    "result": "result.json",
                    "outputs": ["kept.txt"],
                    "inputs": [{"path": "tests", "from": "tests"}],
                },
                "schema": {"properties": {"seed": {"type": "integer"}, "level": {"type": "integer", "default": 3}}},
            }
        )
    )
    (tmp_path / "parameters.json").write_text('{"seed": 7}')
    words = ["run", str(tmp_path / "family.json"), str(tmp_path / "parameters.json"), "--into", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert (answer["state"], answer["result"], answer["log"]) == ("succeeded", {"seed": 7, "level": 3}, "said\n")
    assert (tmp_path / "out/outputs/kept.txt").read_text() == "1"
    assert json.loads((tmp_path / "out/result.json").read_text()) == answer["result"]


def test_parameters_that_the_family_does_not_take_are_refused_by_name() -> None:
    with pytest.raises(BadInput, match=r"parameters\.seed must be integer"):
        of_family(
            {"defaults": {"command": "true"}, "schema": {"properties": {"seed": {"type": "integer"}}}},
            {"seed": "x"},
            [],
        )


@pytest.mark.parametrize("submission", ["right", "crashes", "kills-everyone"])
def test_a_mark_is_the_one_that_a_host_gives(submission: str, tmp_path: Path) -> None:
    handed_in = GRADING / "submissions" / "roman" / submission
    marks = json.loads((GRADING / "expected.json").read_text())
    (expected,) = [mark for mark in marks if (mark["assignment"], mark["submission"]) == ("roman", submission)]
    found = grading(GRADING / "families" / "roman", handed_in)
    done = run(of_document(found.document, found.files), tmp_path / "out")
    assert done.state == expected["state"]
    assert (done.result or {"score": 0})["score"] == expected["mark"]


@pytest.mark.parametrize(
    ("fields", "state", "reason"),
    [
        ({"command": "sleep 30", "timeout_s": 1}, "timed_out", "killed: ran longer than its timeout of 1 s"),
        ({"command": "exit 3"}, "failed", "exit code 3"),
        ({"command": "head -c 60M /dev/zero > big; sleep 5", "disk_mib": 16}, "failed", ""),
    ],
    ids=["time", "exit", "disk"],
)
def test_limits_end_it_with_the_words_of_a_host(
    fields: dict[str, Any], state: str, reason: str, tmp_path: Path
) -> None:
    done = ended(tmp_path, **fields)
    assert (done.state, done.reason.startswith(reason)) == (state, True), done


def test_it_is_in_the_hosts_sandbox(tmp_path: Path) -> None:
    done = ended(tmp_path, "pwd; ls /home /root 2>/dev/null; cat /proc/net/route | wc -l")
    assert done.log.split() == ["/job", "1"]


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ({"command": "true", "comand": "false"}, "comand is no field of a job"),
        ({"command": "true", "inputs": [{"path": "tests", "sha256": "0" * 64}]}, "--input FILE:tests"),
        ({"command": "true", "secrets": {"TOKEN_OF_MINE": "ssm:token"}}, "set the variable TOKEN_OF_MINE"),
        ({"command": "true", "secrets": ["TOKEN"]}, "secrets should be a JSON object"),
        ({"command": "true", "inputs": ["tests"]}, r"inputs\[0\] should be an object with a path"),
        ({"command": "true", "inputs": [{"path": "tests"}]}, "Input tests says none of text, git, s3 and sha256"),
    ],
    ids=["typo", "upload", "secret", "secrets", "input", "no kind"],
)
def test_what_this_machine_lacks_is_told_before_anything_runs(document: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        of_document(document, [])


@pytest.mark.parametrize(
    ("family", "sentence"),
    [
        ({"command": "true"}, "command is a field of a job, and belongs into the family's defaults"),
        ({"defaults": ["true"]}, "defaults should be a JSON object"),
        ({"defaults": {"command": "true", "parameters": [1]}}, "parameters should be a JSON object"),
        ({"defaults": {"command": "true"}, "schema": {"type": "strang"}}, "schema cannot be used"),
        ({"defaults": {"command": "true"}, "source": "https://git.example.org/x"}, "source should be a JSON object"),
    ],
    ids=["misplaced", "defaults", "parameters", "schema", "source"],
)
def test_a_family_that_is_none_is_told_by_a_sentence(family: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        of_family(family, {}, [])


def test_what_an_earlier_run_left_is_not_taken_for_this_ones(tmp_path: Path) -> None:
    """Outputs of another student's grading, above all; but files of one's own are nobody's to remove."""
    ended(tmp_path, "echo 1 > kept", outputs=["kept"])
    assert (tmp_path / "out/outputs/kept").exists()
    ended(tmp_path, "true", outputs=["kept"])
    assert not (tmp_path / "out/outputs").exists()
    (tmp_path / "mine/outputs").mkdir(parents=True)
    run(of_document({"command": "true"}, []), tmp_path / "mine")
    run(of_document({"command": "true"}, []), tmp_path / "mine")
    assert (tmp_path / "mine/outputs").is_dir()


def test_where_nothing_can_be_kept_a_sentence_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match=r"Nothing can be kept in .*file: File exists"):
        run(of_document({"command": "true"}, []), tmp_path / "file")


def test_a_file_of_ones_own_stands_for_an_upload(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    document = {"command": "cat tests", "inputs": [{"path": "tests", "sha256": "0" * 64}]}
    assert run(of_document(document, [("tests", tmp_path / "mine")]), tmp_path / "out").log == "mine"


def test_ctrl_c_ends_the_job_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "family.json").write_text('{"defaults": {"command": "trap \'\' TERM INT; sleep 60", "timeout_s": 60}}')
    process = subprocess.Popen(
        [sys.executable, "-m", "spillway", "run", "family.json", "--json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(GRADING.parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert process.stderr.readline() == "It has begun.\n"
    process.send_signal(signal.SIGINT)
    try:
        out, _ = process.communicate(timeout=20)
    finally:
        process.kill()
    assert (json.loads(out)["state"], process.returncode) == ("cancelled", 1)


def test_a_grader_is_known_by_what_lies_in_its_folder(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"neither a family\.json nor a run_autograder"):
        grading(tmp_path, tmp_path)
    with pytest.raises(BadInput, match="unpack it, and name the folder"):
        grading(Path(__file__), tmp_path)
    (tmp_path / "info.json").write_text('{"externalGradingOptions": {"serverFilesCourse": "lib"}}')
    with pytest.raises(BadInput, match="serverFilesCourse in it a list"):
        grading(tmp_path, tmp_path)
    (tmp_path / "run_autograder").write_text("#!/bin/sh\n")
    found = grading(tmp_path, tmp_path / "handed-in")
    assert (found.document["adapter"], [path for path, _ in found.files]) == ("gradescope", ["source", "submission"])
    question = tmp_path / "course" / "questions" / "q"
    (question / "tests").mkdir(parents=True)
    (tmp_path / "course" / "infoCourse.json").write_text("{}")
    options = {
        "entrypoint": "/grade/tests/run.sh",
        "timeout": 20,
        "serverFilesCourse": ["lib/"],
        "enableNetworking": False,
    }
    (question / "info.json").write_text(json.dumps({"externalGradingOptions": options}))
    found = grading(question, tmp_path / "handed-in")
    assert found.document == {
        "adapter": "prairielearn",
        "command": "/grade/tests/run.sh",
        "timeout_s": 20,
        "network": False,
    }
    assert [path for path, _ in found.files] == ["student", "tests", "serverFilesCourse/lib/"]


def test_a_grader_of_gradescope_is_run_as_it_is_on_a_single_file(tmp_path: Path) -> None:
    (tmp_path / "grader").mkdir()
    (tmp_path / "grader/run_autograder").write_text(
        "#!/bin/sh\ncp /autograder/source/results.json /autograder/results/; cat /autograder/submission/mine"
    )
    (tmp_path / "grader/setup.sh").write_text("true\n")
    (tmp_path / "grader/results.json").write_text(
        '{"score": 7.5, "tests": [{"name": "one", "score": 1, "max_score": 2}]}'
    )
    (tmp_path / "mine").write_text("mine")
    words = ["grade", str(tmp_path / "grader"), str(tmp_path / "mine"), "--into", str(tmp_path / "out"), "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert (answer["state"], answer["result"]["score"], answer["log"]) == ("succeeded", 7.5, "mine")
    assert (tmp_path / "out/outputs/results/results.json").exists()


def test_no_control_group_is_left(tmp_path: Path) -> None:
    ended(tmp_path, "true")
    mine = f"spillway-local{os.getpid()}-"
    folders = cgroups.find().folders.values()
    assert [name for folder in folders for name in os.listdir(folder) if name.startswith(mine)] == []
