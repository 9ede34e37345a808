"""What a command may do to the agent that runs it: make folders, results and environments that nobody in their right mind makes."""

import json
import os
import stat
import tracemalloc
from types import SimpleNamespace

import pytest
from agent_machine import a_job

from agent import criu, folder, inbox, inputs, prepare
from agent.inputs import NotUsable
from agent.manifest import Wrong, assignment, given
from agent.outputs import find, read_result
from agent.pings import Pings
from agent.refusal import Refusal
from agent.sandbox import Ask
from agent.sandbox.bwrap import Bubblewrap
from agent.unpack import Hostile, place

DEEP = 3000  # levels: more than Python recurses, and more than a path can name


def make_deep(top, levels=DEEP, name="d" * 20):
    """A chain of folders that no single path can name."""
    fd = os.open(top, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir(name, dir_fd=fd)
        below = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    return fd


def test_a_work_folder_is_removed_however_deep_it_is(tmp_path):
    """Else the disk fills up, and the thread that should end the attempt ends itself."""
    work = tmp_path / "job.1" / "work"
    work.mkdir(parents=True)
    fd = make_deep(work)
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.close(fd)
    locked = work / "locked"
    (locked / "inner").mkdir(parents=True)
    locked.chmod(0)
    (work / "link").symlink_to(tmp_path)
    os.mkfifo(work / "pipe")
    (tmp_path / "kept").write_text("not ours")
    folder.remove(str(tmp_path / "job.1"))
    assert sorted(os.listdir(tmp_path)) == ["kept"]


def test_folders_with_very_many_entries_cost_the_agent_no_memory(tmp_path):
    """A job may make hundreds of thousands of files with long names before a look at its disk finds them."""
    work = tmp_path / "job.1/work"
    work.mkdir(parents=True)
    inside = os.open(work, os.O_RDONLY)
    for number in range(2 * folder.AT_ONCE):
        os.close(os.open(f"{number:0200}", os.O_CREAT, dir_fd=inside))
    os.close(inside)
    (work / "z/deeper").mkdir(parents=True)
    tracemalloc.start()
    try:
        assert sum(len(entries) for _, entries in folder.walk(str(work))) == 2 * folder.AT_ONCE + 2
        walked = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        folder.remove(str(tmp_path / "job.1"))
        removed = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert not (tmp_path / "job.1").exists()
    assert walked < 1500 * folder.AT_ONCE
    assert removed < 1 << 20


def test_an_install_takes_no_folders_along_that_copying_cannot_bear(tmp_path):
    """The submission lies beside the script, and somebody else has made it: that fails its job, and is no fault of the agent's."""
    (tmp_path / "work").mkdir()
    os.close(make_deep(tmp_path / "work", folder.DEPTH_MAX + 1, "d"))
    with pytest.raises(NotUsable, match="more than 200 levels deep") as caught:
        prepare._copy(str(tmp_path / "work"), str(tmp_path / "inputs"), set())
    assert caught.value.why == "bad_input"
    folder.remove(str(tmp_path / "work"))


@pytest.mark.parametrize("name", ["a\0b.py", "'" * 60_000])
def test_a_parameter_that_no_program_can_be_given_fails_its_job(name):
    """A submission's file name, say: starting the grader would fail in the agent, which would take its host for sick."""
    given = {**a_job(), "adapter": "coursera", "folder": "/shared", "parameters": {"filename": name}}
    with pytest.raises(Refusal, match="too long or holds a NUL") as caught:
        prepare._sayable(assignment(given))
    assert caught.value.why == "bad_input"


@pytest.mark.parametrize("way", ["link", "folder"])
def test_a_repository_in_the_way_of_the_parameters_is_a_bad_input(tmp_path, way):
    """It is fetched before they are written; whoever made it must not make hosts sick, nor wander from one to the next."""
    if way == "link":
        (tmp_path / "parameters.json").symlink_to("/etc/hostname")
    else:
        (tmp_path / "parameters.json").mkdir()
    with pytest.raises(NotUsable, match=r"in the way of parameters\.json") as caught:
        inputs.prepare(assignment(a_job(parameters={"a": 1})), str(tmp_path), None)
    assert caught.value.why == "bad_input"


@pytest.mark.parametrize("name", criu.PACKED)
def test_a_checkpoint_of_processes_with_a_link_in_the_place_of_a_folder_is_not_used(tmp_path, name):
    """What it leads to would be handed over to the job, with all that is in it, and mounted for it to write."""
    for one in criu.PACKED:
        (tmp_path / one).mkdir()
    (tmp_path / "criu/spillway.json").write_text('{"uid": 1, "output": "pipe:[1]"}')
    attempt = SimpleNamespace(paths=SimpleNamespace(checkpoint=str(tmp_path)), take_uid=lambda uid: True)
    assert criu.usable(attempt) == ""
    (tmp_path / name).rename(tmp_path / "other")
    (tmp_path / name).symlink_to("other")
    assert criu.usable(attempt) == f"it holds no folder {name}"


def test_a_folder_too_deep_to_be_measured_counts_as_too_large(tmp_path):
    """Else bytes are hidden below it."""
    os.close(make_deep(tmp_path))
    assert folder.exceeds(str(tmp_path), 1 << 40)
    folder.remove(str(tmp_path))


def test_bytes_in_files_without_a_name_are_counted(tmp_path):
    """Opened and unlinked, a file fills the disk and no listing shows it; nor does its mapping when it is closed as well."""
    with open(tmp_path / "file", "wb") as file:
        file.write(b"x" * (1 << 20))
        file.flush()
        os.unlink(tmp_path / "file")
        device = os.stat(tmp_path).st_dev
        assert folder.hidden_bytes([os.getpid()], device) >= 1 << 20
    watch = folder.Watch(str(tmp_path), 1 << 10, lambda: [os.getpid()])
    assert not watch(), "it does not look at once"


def test_outputs_of_a_deep_folder_are_told_as_cut_not_raised(tmp_path):
    """Patterns over a folder that cannot be walked to its end take what can be named."""
    (tmp_path / "a").write_text("x")
    os.close(make_deep(tmp_path))
    found = find(str(tmp_path), ["**"])
    assert found.files == (("a", 1),)
    assert "not all looked at" in found.problem
    folder.remove(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1e999", "not JSON"),
        ("[NaN]", "not JSON"),
        ("[" * 700 + "]" * 700, "levels deep"),
        ('{"a":' * 300 + "1" + "}" * 300, "levels deep"),
        ("[" * 15000 + "]" * 15000, "not JSON"),
        ('"\\ud800"', "not JSON"),
        ("1" * 20000, "not JSON"),
    ],
)
def test_a_result_that_would_break_those_who_read_it_is_refused(tmp_path, text, says):
    """It passes through three programs and two JSON libraries after the agent."""
    (tmp_path / "r.json").write_text(text)
    result, problem = read_result(str(tmp_path), "r.json")
    assert result is None
    assert says in problem


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_a_result_that_is_no_file_is_told(tmp_path, make):
    """A folder, too: it was the agent's failure, and with it not the submission's."""
    make(tmp_path / "r.json")
    before = len(os.listdir("/proc/self/fd"))
    assert read_result(str(tmp_path), "r.json")[1].endswith("is no file")
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_ping_that_cannot_be_sent_fails_where_it_is_posted():
    """In the thread that sends it would be tried for ever, and block every other ping of the host."""
    sent = []
    pings = Pings("pool", "host", sent.append, lambda ping: None)
    deep = []
    for _ in range(2000):
        deep = [deep]
    with pytest.raises(RecursionError):
        pings.post("finish", result=deep)
    with pytest.raises(ValueError, match="Out of range"):
        pings.post("finish", result=float("inf"))
    pings.post("idle")
    pings.start()
    assert pings.flush(5)
    pings.close()
    (message,) = map(json.loads, sent)
    assert [ping["kind"] for ping in message["pings"]] == ["idle"]
    assert message["seq"] == 1


def test_the_jobs_environment_does_not_reach_what_prepares_the_sandbox():
    """LD_PRELOAD in it would run the job's own code as root."""
    ask = Ask("id", "/w", "/t", False, {"LD_PRELOAD": "/job/evil.so", "GCONV_PATH": "/job"}, "job-1", 1, 200001)
    for sandbox in (Bubblewrap("/usr/bin/bwrap", "/usr/bin/setpriv", True), Bubblewrap("/usr/bin/bwrap", "", True)):
        launch = sandbox.launch(ask)
        for fd in launch.inherit:
            os.close(fd)
        assert set(launch.environment) == {"PATH", "LANG"}
        argv = list(launch.argv)
        assert argv.index("LD_PRELOAD=/job/evil.so") > argv.index("/usr/bin/env"), "set by env, after all else"
        assert argv[-3:] == ["/bin/sh", "-c", "id"]


def test_an_assignment_that_cannot_be_used_is_taken_to_be_refused_by_name():
    """Ignored, it would be handed to one new host after the other."""
    bad = {"job": "job-1", "attempt": 2, "command": "x", "environment": {"A": "x" * 70000}}
    orders = inbox.read(
        json.dumps({"pass_no": 1, "assignments": [bad, {"job": "../x", "attempt": 1}, 5]}).encode(), 0, {}
    )
    assert [(one.key, "larger" in one.fault) for one in orders.assignments] == [("job-1#2", True)]
    assert len(orders.problems) == 2
    with pytest.raises(Wrong):
        given({"job": "job-1", "attempt": True, "command": 5})


def test_a_path_with_a_name_too_long_is_the_users_fault(tmp_path):
    """Not the host's: it would fail on every other one as well."""
    from agent.cache import Cache
    from agent.inputs import NotUsable, prepare

    one = given({"job": "j", "attempt": 1, "command": "x", "inputs": [{"path": "a" * 300, "text": "x"}]})
    with pytest.raises(NotUsable) as refused:
        prepare(one, str(tmp_path), Cache(str(tmp_path / "cache")))
    assert refused.value.why == "bad_input"
    with pytest.raises(Hostile):
        place(str(tmp_path), "b" * 300 + "/x")


def test_what_is_handed_over_is_handed_over_whole(tmp_path):
    """Also where an archive was deeper than Python recurses; links are not followed."""
    if os.geteuid():
        pytest.skip("only root gives files away")
    (tmp_path / "tmp").mkdir()
    top = tmp_path / "work"
    top.mkdir()
    os.close(make_deep(top, 1500, "d"))
    (top / "link").symlink_to("/etc/passwd")
    folder.give(str(tmp_path), 200001)
    assert os.lstat(top / "link").st_uid == 200001
    assert os.stat("/etc/passwd").st_uid == 0
    assert stat.S_IMODE(os.stat(top).st_mode) == 0o700
    folder.remove(str(tmp_path))


def test_an_input_that_is_not_in_the_store_fails_and_an_expired_address_does_not():
    """S3 answers both with 403 and AccessDenied; asking for fresh addresses of the first would never end."""
    from agent.inputs import _refusal

    missing = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
    expired = b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
    ended = b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"
    assert [_refusal(403, body, "0" * 64).why for body in (missing, expired, ended)] == [
        "bad_input",
        "urls_expired",
        "urls_expired",
    ]


@pytest.mark.parametrize("code", ["InvalidObjectState", "KeyTooLongError", "InvalidRequest"])
def test_what_no_fresh_address_would_mend_is_not_asked_for_again(code):
    """An archived object, a key too long, one under its owner's own key: S3 says 400 or 403 for ever, and the job would never end."""
    from agent.inputs import _refusal

    assert [_refusal(status, b"<Error><Code>%s</Code></Error>" % code.encode(), "x").why for status in (400, 403)] == [
        "bad_input"
    ] * 2


@pytest.mark.parametrize(
    "code", ["ExpiredToken", "InvalidAccessKeyId", "SignatureDoesNotMatch", "RequestTimeTooSkewed"]
)
def test_what_is_wrong_with_an_address_asks_for_a_fresh_one(code):
    from agent.inputs import _refusal

    assert _refusal(403, b"<Error><Code>%s</Code></Error>" % code.encode(), "x").why == "urls_expired"
