"""What adapters decide: layouts, calls, and which results are some."""

import json
import math
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent import graded, verdict
from agent.adapters import RAW_MAX_BYTES, Broken, Found, Seen, completed, marks, of
from agent.adapters.coursera import last_object
from agent.inputs import NotUsable
from agent.logs import LAST_BYTES
from agent.manifest import Wrong, assignment
from chalicelib.core.adapters import CONVENTIONS

NAMES = ("gradescope", "prairielearn", "coursera")

# as Gradescope documents its results
DOCUMENTED = {
    "score": 44.0,
    "execution_time": 136,
    "output": "Text relevant to the entire submission",
    "output_format": "simple_format",
    "test_output_format": "text",
    "test_name_format": "text",
    "visibility": "after_due_date",
    "stdout_visibility": "visible",
    "extra_data": {"compiler": "gcc"},
    "tests": [
        {
            "score": 2.0,
            "max_score": 2.0,
            "status": "passed",
            "name": "Your name here",
            "name_format": "text",
            "number": "1.1",
            "output": "Giant multiline string",
            "output_format": "text",
            "tags": ["tag1", "tag2"],
            "visibility": "visible",
            "extra_data": {},
        }
    ],
    "leaderboard": [
        {"name": "Accuracy", "value": 0.926},
        {"name": "Time", "value": 15.1, "order": "asc"},
        {"name": "Stars", "value": "*****"},
    ],
}


def job(adapter, **fields):
    document = {"job": "job-1", "attempt": 1, "adapter": adapter, "command": "./grade", **fields}
    return assignment(completed(document))


def mark(adapter, value, exit_code=0, problem="", said=""):
    return of(adapter).mark(Seen(None if problem else value, problem, said, exit_code))


def broken(adapter, value, **seen):
    with pytest.raises(Broken) as caught:
        mark(adapter, value, **seen)
    return str(caught.value)


def test_both_halves_say_the_same_of_an_adapter():
    """What the control plane fills in, and what the agent fills in where there is none."""
    for name, convention in CONVENTIONS.items():
        adapter = of(name)
        told = (adapter.program, adapter.folder, adapter.timeout_s, adapter.raw, adapter.setup)
        assert told == (convention.command, convention.folder, convention.timeout_s, convention.raw, convention.setup)
    filled = completed({"adapter": "gradescope"})
    assert filled == {
        "adapter": "gradescope",
        "command": "/autograder/run_autograder",
        "folder": "/autograder",
        "timeout_s": 600,
        "outputs": ["results/results.json"],
        "install": {"path": "source/setup.sh"},
    }
    assert completed({"command": "true"}) == {"command": "true"}
    said = {"adapter": "prairielearn", "timeout_s": 5, "outputs": [{"glob": "results/results.json", "name": "r"}]}
    assert completed(said)["timeout_s"] == 5
    assert completed(said)["outputs"] == said["outputs"]
    with pytest.raises(Wrong):
        of("moodle")


def test_gradescopes_own_example_is_taken_word_by_word():
    found = mark("gradescope", DOCUMENTED)
    assert (found["score"], found["max_score"]) == (44.0, 2.0)
    assert found["tests"][0]["visibility"] == "visible"
    assert found["tests"][0]["tags"] == ["tag1", "tag2"]
    assert found["leaderboard"] == DOCUMENTED["leaderboard"]
    assert (found["extra_data"], found["execution_time"]) == ({"compiler": "gcc"}, 136)
    assert "cut" not in found


def test_gradescopes_score_is_the_sum_of_its_tests_unless_it_is_said():
    """As documented: one or the other; a score of the whole stands over the sum."""
    tests = [{"score": 1, "max_score": 2}, {"score": 0.5, "max_score": 2}]
    assert mark("gradescope", {"tests": tests})["score"] == 1.5
    assert mark("gradescope", {"tests": tests})["max_score"] == 4
    assert mark("gradescope", {"tests": tests, "score": 7})["score"] == 7
    assert mark("gradescope", {"score": -1.0})["max_score"] is None
    assert mark("gradescope", {"score": 1, "tests": [{"score": 1}, {"name": "told only"}]})["score"] == 1
    assert "neither has tests[1]" in broken("gradescope", {"tests": [{"score": 1}, {}]})
    assert broken("gradescope", {}) == "its results have no score, and no tests"


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ([], "its results is a list, and must be an object"),
        ({"score": "2.0"}, "its score is text, and must be a number"),
        ({"score": True}, "its score is true or false, and must be a number"),
        ({"score": 10**400}, "its score is no finite number"),
        ({"score": math.inf}, "its score is no finite number"),
        ({"score": 1, "tests": {}}, "its tests is an object, and must be a list"),
        ({"score": 1, "tests": [3]}, "tests[0] is a number, and must be an object"),
        ({"score": 1, "tests": [{"status": "ok"}]}, 'tests[0].status is "ok", and must be one of failed, passed'),
        ({"score": 1, "visibility": "all"}, 'its visibility is "all", and must be one of after_due_date, '),
        ({"score": 1, "tests": [{"output": ["a"]}]}, "tests[0].output is a list, and must be text"),
        ({"score": 1, "leaderboard": [{"name": "x"}]}, "leaderboard[0] needs a name and a value"),
        ({"score": 1, "leaderboard": [{"name": "x", "value": 1, "order": "up"}]}, 'leaderboard[0].order is "up"'),
    ],
)
def test_what_gradescope_would_not_take_is_named(value, sentence):
    assert broken("gradescope", value).startswith(sentence)


def test_prairielearns_results_are_taken_as_documented():
    value = {
        "gradable": True,
        "score": 0.25,
        "message": "Tests completed successfully.",
        "output": "Running tests...",
        "images": [{"label": "First", "url": "data:image/png;base64,AAAA"}],
        "tests": [
            {"name": "Test 1", "description": "d", "points": 1, "max_points": 1, "message": "m", "output": "o"},
            {"points": 0, "max_points": 3},
            "whatever the grader likes",
        ],
    }
    found = mark("prairielearn", value)
    assert (found["score"], found["max_score"], found["gradable"]) == (0.25, 1.0, True)
    first = {"name": "Test 1", "score": 1, "max_score": 1, "description": "d", "message": "m", "output": "o"}
    assert found["tests"] == [first, {"name": "Test 2", "score": 0, "max_score": 3}]
    invalid = mark("prairielearn", {"gradable": False, "format_errors": "line 3: a syntax error"})
    assert (invalid["score"], invalid["format_errors"]) == (None, ["line 3: a syntax error"])


@pytest.mark.parametrize(
    ("value", "exit_code", "sentence"),
    [
        ({}, 0, 'its results have no score, and do not say "gradable": false'),
        ({"score": 1.01}, 0, "its score is 1.01, and must be between 0 and 1"),
        ({"score": -0.1}, 0, "its score is -0.1, and must be between 0 and 1"),
        ({"score": "1"}, 0, "its score is text, and must be a number"),
        ({"gradable": "no"}, 0, 'its gradable is "no", and must be true or false'),
        ({"gradable": False, "format_errors": [1]}, 0, "its format_errors must be texts"),
        ({"score": 1}, 3, "its entrypoint ended with exit code 3, so that its results do not count"),
    ],
)
def test_what_prairielearn_would_not_take_is_named(value, exit_code, sentence):
    assert broken("prairielearn", value, exit_code=exit_code) == sentence


def test_courseras_feedback_is_a_score_or_a_yes():
    whole = mark("coursera", {"fractionalScore": 0.75, "feedback": "<b>Fine</b>", "feedbackType": "HTML"})
    assert (whole["score"], whole["max_score"]) == (0.75, 1.0)
    assert (whole["output"], whole["output_format"]) == ("<b>Fine</b>", "html")
    assert mark("coursera", {"isCorrect": True, "feedback": ""})["score"] == 1.0
    assert mark("coursera", {"isCorrect": False, "feedback": "no"})["score"] == 0.0
    both = {"fractionalScore": 0.5, "isCorrect": True, "feedback": ""}
    assert mark("coursera", both)["score"] == 0.5, "as Coursera's own check reads it"


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({"feedback": "x"}, "its feedback has neither fractionalScore nor isCorrect"),
        ({"fractionalScore": True, "feedback": "x"}, "its fractionalScore is true or false, and must be a number"),
        ({"fractionalScore": 1.5, "feedback": "x"}, "its fractionalScore is 1.5, and must be between 0 and 1"),
        ({"isCorrect": 1, "feedback": "x"}, "its isCorrect is 1, and must be true or false"),
        ({"isCorrect": True}, "its feedback has no text `feedback`"),
        ({"isCorrect": True, "feedback": {}}, "its feedback is an object, and must be text"),
    ],
)
def test_what_coursera_would_not_take_is_named(value, sentence):
    assert broken("coursera", value) == sentence


def test_the_first_generation_of_courseras_graders_prints_its_feedback():
    """The last line that is an object; what is printed around it, and after it, is none of it."""
    printed = 'compiling\n{"not": this}\n{"fractionalScore": 0.5, "feedback": "half"}\n'
    assert mark("coursera", None, problem="none", said=printed)["score"] == 0.5
    assert last_object('{\n  "isCorrect": true,\n  "feedback": "x"\n}\nbye\n') == {"isCorrect": True, "feedback": "x"}
    assert last_object('{"a": 1}') == {"a": 1}
    assert last_object('{"a": 1} and more\n') is None
    assert last_object("\n{" * 5000) is None
    assert last_object("") is None
    assert "printed no JSON object either" in broken("coursera", None, problem="it wrote none", said="boo")


def test_how_a_grader_ended_is_told_with_what_it_did_not_write():
    """127 and 126 are riddles to whoever did not grow up with a shell."""
    said = broken("gradescope", None, problem="it wrote no result 'results/results.json'", exit_code=127)
    assert said == (
        "run_autograder ended with exit code 127 (a shell's word for: it, or what its first line names, is not there), and it wrote no "
        "result 'results/results.json'"
    )
    assert broken("prairielearn", None, problem="it wrote none") == "it wrote none"


def test_a_folder_that_was_zipped_instead_of_its_files_is_named():
    """The most frequent mistake with Gradescope's zips."""
    with pytest.raises(Broken, match="it is in source/hw1: zip the files themselves"):
        of("gradescope").layout(job("gradescope"), Found(frozenset({"source/hw1/run_autograder"})))
    with pytest.raises(Broken, match=r"no setup\.sh at the top of source"):
        of("gradescope").layout(job("gradescope"), Found(frozenset({"source/run_autograder"})))
    layout = of("gradescope").layout(
        job("gradescope", install={"script": "true"}), Found(frozenset({"source/run_autograder"}))
    )
    assert layout.programs == (("source/run_autograder", "run_autograder"),)


def test_a_submission_is_introduced_by_labels_and_parameters():
    """Gradescope's submission_metadata.json: labels where they are known, `submission_metadata` over them."""
    parameters = {"submission_metadata": {"id": 7, "assignment": {"total_points": "20.0"}}}
    known = job("gradescope", labels={"email": "ada@example.org", "course": "cs101"}, parameters=parameters)
    layout = of("gradescope").layout(known, Found(frozenset({"source/run_autograder", "source/setup.sh"})))
    ((path, text),) = layout.files
    said = json.loads(text)
    assert path == "submission_metadata.json"
    assert (said["id"], said["users"][0]["email"]) == (7, "ada@example.org")
    assert (said["assignment"]["total_points"], said["assignment"]["course_id"]) == ("20.0", "cs101")
    assert said["previous_submissions"] == []


@pytest.mark.parametrize(
    ("command", "program"),
    [
        ("/grade/serverFilesCourse/run.sh", "serverFilesCourse/run.sh"),
        ("'/grade/serverFilesCourse/run me.sh' --fast", "serverFilesCourse/run me.sh"),
        ("./tests/run.sh", "tests/run.sh"),
        ("python3 /grade/tests/run.py", ""),
        ("/usr/bin/env true", ""),
        ("/grade/../etc/passwd", ""),
        ("'unfinished", ""),
        ("/grade", ""),
    ],
)
def test_an_entrypoint_in_the_folder_is_made_executable_and_must_be_there(command, program):
    """One of the image's, or a shell's line, is none of our business."""
    one, prairielearn = job("prairielearn", command=command), of("prairielearn")
    assert prairielearn.asked(one)[1:] == ((program,) if program else ())
    if program:
        with pytest.raises(Broken, match="its entrypoint"):
            prairielearn.layout(one, Found(frozenset()))
    there = prairielearn.layout(one, Found(frozenset({program})))
    assert there.programs == (((program, program),) if program else ())


def test_prairielearns_data_are_the_parameters_unless_they_are_given():
    one = job("prairielearn", parameters={"n": 3}, command="true")
    (path, text), *rest = of("prairielearn").layout(one, Found(frozenset())).files
    assert (path, json.loads(text)["params"], rest) == ("data/data.json", {"n": 3}, [])
    assert of("prairielearn").layout(one, Found(frozenset({"data/data.json"}))).files == ()
    said = job("prairielearn", parameters={"data": {"params": {"a": 1}, "submitted_answers": {}}}, command="true")
    assert json.loads(of("prairielearn").layout(said, Found(frozenset())).files[0][1])["params"] == {"a": 1}


def test_coursera_is_told_of_its_part_in_both_ways():
    """As arguments, quoted, and as variables; an input `grader` is where images have it."""
    parameters = {"partId": "5ShhY", "userId": 42, "filename": "my hw.py", "other": "x", "list": []}
    one = job(
        "coursera", command="python3 /grader/grade.py", parameters=parameters, inputs=[{"path": "grader", "text": ""}]
    )
    coursera = of("coursera")
    assert coursera.command(one) == "python3 /grader/grade.py partId 5ShhY userId 42 filename 'my hw.py'"
    assert coursera.environment(one) == {"partId": "5ShhY", "userId": "42", "filename": "my hw.py"}
    assert coursera.shown(one) == (("grader", "/grader"),)
    assert coursera.shown(job("coursera")) == ()
    assert coursera.command(job("coursera")) == "./grade"


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["passed", "hidden", "text", "asc"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from([*DOCUMENTED, *DOCUMENTED["tests"][0], "gradable", "feedback", "x"]), inner)
    ),
    max_leaves=20,
)


@pytest.mark.parametrize("name", NAMES)
@given(value=JSON, exit_code=st.sampled_from([0, 1, 139]))
@settings(max_examples=80, deadline=None)
def test_whatever_a_grader_writes_is_a_result_or_its_fault(name, value, exit_code):
    """Never an error of ours, never a result that a ping or a spreadsheet could not hold."""
    try:
        found = mark(name, value, exit_code=exit_code)
    except Broken:
        return
    assert set(found) >= {"score", "max_score", "tests"}
    assert found["score"] is None or math.isfinite(found["score"])
    assert len(json.dumps(found, ensure_ascii=False).encode()) <= marks.RESULT_MAX_BYTES


@given(
    tests=st.lists(
        st.fixed_dictionaries(
            {"score": st.floats(-5, 5), "name": st.text(max_size=80), "output": st.text(max_size=3000)}
        ),
        max_size=60,
    ),
    times=st.integers(1, 40),
    extra=st.integers(0, 40000),
)
@settings(max_examples=60, deadline=None)
def test_a_long_result_is_cut_and_its_marks_stay(tests, times, extra):
    """Texts go first, then the last tests; the score is that of all of them, and `cut` says that something is missing."""
    whole = {"score": 1.25, "tests": tests * times, "output": "x" * extra, "extra_data": {"k": "y" * extra}}
    found = mark("gradescope", whole)
    size = len(json.dumps(found, ensure_ascii=False).encode())
    assert size <= marks.RESULT_MAX_BYTES
    assert (found["score"], [t["score"] for t in found["tests"]]) == (
        1.25,
        [t["score"] for t in whole["tests"]][: len(found["tests"])],
    )
    if "cut" not in found:
        assert [t["output"] for t in found["tests"]] == [t["output"] for t in whole["tests"]]


def test_whatever_it_has_printed_a_large_file_is_read(tmp_path):
    """What is no text is six times as long in JSON: more than an argument of a program may be."""
    text = b'{"score": 1, "output": "' + b"x" * graded.HERE_MAX_BYTES + b'"}'
    found = judged(tmp_path, "gradescope", text, last=b"\xff" * LAST_BYTES)
    assert found.verdict == ("succeeded", "graded: 1")


def judged(tmp_path, adapter, text, exit_code=0, last=b""):
    one, work = job(adapter), tmp_path / "work"
    work.mkdir(exist_ok=True)
    path = work / of(adapter).raw
    path.parent.mkdir(exist_ok=True)
    if text is not None:
        path.write_bytes(text)
    plain = verdict.Verdict("succeeded" if exit_code == 0 else "failed", f"exit code {exit_code}")
    return graded.judged(one, str(work), plain, exit_code, last)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "it wrote no result"),
        (b"", "is not JSON"),
        (b'{"score": NaN}', "NaN is not JSON"),
        (b'{"score": 1e999}', "is not JSON"),
        (b'{"score": 1, "output": "\\ud800"}', "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b'{"score": 1, "extra_data": ' + b"[" * 150 + b"]" * 150 + b"}", "nested more than 100 levels"),
        (b"[" * 900_000, "is not JSON"),
        (b'{"score": 1, "output": "' + b"x" * RAW_MAX_BYTES + b'"}', "is larger than 1024 KiB"),
    ],
    ids=["none", "empty", "nan", "infinite", "half a character", "no text", "deep", "bottomless", "huge"],
)
def test_results_that_are_none_are_the_graders_fault(tmp_path, text, sentence):
    """Ours to tell, nobody's to pay for: infrastructure, with its cause."""
    found = judged(tmp_path, "gradescope", text)
    assert (found.verdict.outcome, found.cause, found.result) == ("infrastructure", "grader", None)
    assert found.verdict.reason.startswith("its grader is broken: ")
    assert sentence in found.verdict.reason


@pytest.mark.parametrize(
    "text",
    [
        b'{"score": 1, "extra_data": [' + b"[]," * 340_000 + b"0]}",
        b'{"tests": [' + b'{"score": 1},' * 70_000 + b'{"score": 1}]}',
        b'{"score": 1, "output": "' + b"x" * 1_000_000 + b'"}',
    ],
    ids=["empty lists", "tests", "text"],
)
def test_a_large_file_is_read_apart_so_that_the_agent_stays_small(tmp_path, text):
    """A megabyte of JSON is forty of Python's memory, and not all of it is ever given back."""
    (tmp_path / "results").mkdir()
    (tmp_path / "results/results.json").write_bytes(text)
    done = subprocess.run([sys.executable, "-c", SMALL, tmp_path], capture_output=True, text=True, cwd=ROOT)
    grown_mib, outcome, cut = done.stdout.split()
    assert (outcome, cut) == ("succeeded", "True"), done.stderr
    assert float(grown_mib) < 8
    wrong = judged(tmp_path, "gradescope", text[:-2])
    assert (wrong.cause, wrong.result) == ("grader", None)
    assert "is not JSON" in wrong.verdict.reason


ROOT = Path(__file__).resolve().parents[2]
SMALL = """
import sys
from agent import graded, verdict
from agent.adapters import completed
from agent.logs import LAST_BYTES
from agent.manifest import assignment
def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))
one = assignment(completed({"job": "job-1", "attempt": 1, "adapter": "gradescope"}))
before, plain = peak(), verdict.Verdict("succeeded", "exit code 0")
found = graded.judged(one, sys.argv[1], plain, 0, b"")
print(peak() - before, found.verdict.outcome, found.result["cut"])
"""


def test_results_that_lead_elsewhere_are_none(tmp_path):
    """A link out of the work folder, a folder, a pipe: nothing of the host is read, and nobody waits for it."""
    import os

    (tmp_path / "secret").write_text('{"score": 1}')
    results = tmp_path / "work" / "results"
    results.mkdir(parents=True)
    for make in (
        lambda path: path.symlink_to(tmp_path / "secret"),
        lambda path: path.mkdir(),
        lambda path: os.mkfifo(path),
        lambda path: path.symlink_to("results.json"),
    ):
        path = results / "results.json"
        make(path)
        found = judged(tmp_path, "gradescope", None)
        assert (found.verdict.outcome, found.cause) == ("infrastructure", "grader"), found
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


def test_an_exit_code_means_what_it_means_to_each_system(tmp_path):
    """Nothing to Gradescope, which reads results whatever happened; all to the others."""
    found = judged(tmp_path, "gradescope", b'{"score": 1}', exit_code=1)
    assert found.verdict == ("succeeded", "graded: 1; exit code 1")
    assert judged(tmp_path, "prairielearn", b'{"score": 1}', exit_code=1).cause == "grader"
    assert judged(tmp_path, "coursera", b'{"isCorrect": true, "feedback": ""}', exit_code=1).cause == "grader"
    assert judged(tmp_path, "prairielearn", b'{"score": 0.5}').verdict == ("succeeded", "graded: 0.5 of 1")


def test_who_was_ended_by_a_limit_has_no_broken_grader(tmp_path):
    """It is the submission that runs for ever; what the grader had written by then is kept, and is no result."""
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "results.json").write_text('{"score": 1}')
    for ended in (
        verdict.Verdict("timed_out", "killed: ran longer than its timeout of 3 s"),
        verdict.Verdict("failed", "killed: used 9 MiB of 9 MiB"),
        verdict.Verdict("cancelled", "cancelled while it ran"),
        verdict.Verdict("infrastructure", "the sandbox stopped working"),
    ):
        assert graded.judged(job("gradescope"), str(tmp_path), ended, None, b"") == (ended, None, "")


def test_a_work_folder_is_laid_out_twice_as_once(tmp_path):
    """Nothing that was given is replaced, and nothing is made that a grader makes itself: `mkdir results` fails where it is there."""
    for path, text in {"tests/run.sh": "#!/bin/sh\r\n", "student/a.py": "", "data/data.json": "{}"}.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(text.encode())
    for _ in range(2):
        graded.lay_out(job("prairielearn", command="/grade/tests/run.sh"), str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "student", "tests"]
    assert (tmp_path / "tests/run.sh").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "tests/run.sh").read_bytes() == b"#!/bin/sh\r\n", "PrairieLearn leaves it as it is"
    assert (tmp_path / "data/data.json").read_text() == "{}"
    gradescope = tmp_path / "gs"
    (gradescope / "source").mkdir(parents=True)
    for name in ("run_autograder", "setup.sh"):
        (gradescope / "source" / name).write_bytes(b"#!/bin/sh\r\ntrue\r\n")
    for _ in range(2):
        graded.lay_out(job("gradescope"), str(gradescope))
    assert sorted(path.name for path in gradescope.iterdir()) == [
        "results",
        "run_autograder",
        "source",
        "submission",
        "submission_metadata.json",
    ]
    for path in ("run_autograder", "source/setup.sh"):
        assert (gradescope / path).read_bytes() == b"#!/bin/sh\ntrue\n"
        assert (gradescope / path).stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("way", ["file", "link"])
def test_inputs_in_the_way_of_a_layout_are_refused(tmp_path, way):
    """A sentence, no error of ours; and nothing is written through a link."""
    (tmp_path / "source").mkdir()
    for name in ("run_autograder", "setup.sh"):
        (tmp_path / "source" / name).write_text("#!/bin/sh\n")
    outside = tmp_path.parent / "outside"
    outside.mkdir(exist_ok=True)
    (tmp_path / "results").write_text("") if way == "file" else (tmp_path / "results").symlink_to(outside)
    with pytest.raises(NotUsable) as refused:
        graded.lay_out(job("gradescope"), str(tmp_path))
    assert refused.value.why == "bad_input"
    assert not list(outside.iterdir())


def test_what_belongs_to_the_grader_is_told_from_the_submission():
    table = {
        "gradescope": {"source": True, "source/lib": True, "submission": False, "./source": True, "../x": False},
        "prairielearn": {
            "tests": True,
            "serverFilesCourse/x": True,
            "student": False,
            ".": True,
            "data/data.json": True,
        },
        "coursera": {"grader": True, "submission/x": False},
    }
    for name, paths in table.items():
        for path, own in paths.items():
            assert graded.is_graders(job(name), path) == own, (name, path)
    plain = assignment({"job": "job-1", "attempt": 1, "command": "true"})
    assert not graded.is_graders(plain, "source")


def test_texts_are_cut_the_longest_that_fits():
    """No more than is needed."""
    assert all(longer > shorter for longer, shorter in pairwise(marks.TEXT_STEPS))
    found = marks.fitted({"score": 1, "tests": [{"output": "x" * 20_000}, {"output": "y" * 20_000}]})
    assert [len(test["output"]) for test in found["tests"]] == [8192, 8192]
