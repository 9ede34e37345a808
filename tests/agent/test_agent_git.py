"""Repositories as inputs: the real git in the real sandbox, against git's own HTTP backend."""

import shutil
import subprocess

import pytest
from agent_machine import a_job, processes_with
from git_server import TOKEN, GitServer

from agent import git
from agent.manifest import Git

pytestmark = [
    pytest.mark.usefixtures("sandboxed"),
    pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed"),
]


@pytest.fixture
def server(tmp_path):
    one = GitServer(tmp_path / "repositories")
    (tmp_path / "repositories" / "private").mkdir(parents=True)
    yield one
    one.close()


def cloning(url, path="code", **more):
    return [{"path": path, "git": {"url": url, **more}}]


def test_a_repository_is_there_when_the_command_begins(machine, server):
    """The branch's newest state, as the job's own files; other inputs and parameters lie beside it, also in its own folder."""
    url = server.make("course", {"grade.sh": "echo on main"})
    server.make("course", {"grade.sh": "echo on $(cat extra.txt)"}, branch="autumn/2026")
    inputs = [*cloning(url, path=".", branch="autumn/2026"), {"path": "extra.txt", "text": "autumn"}]
    inputs += cloning(url, path="deep/er")
    command = (
        "sh grade.sh; sh deep/er/grade.sh; touch deep/er/x && ls parameters.json; git -C deep/er log --oneline | wc -l"
    )
    job = a_job(command=command, inputs=inputs, parameters={"a": 1})
    finish = machine(assignments=[job]).start().wait("finish")
    assert finish["log"]["text"] == "on autumn\non main\nparameters.json\n1\n", finish


def test_the_token_opens_a_repository_and_is_in_no_argument_log_or_file(machine, server):
    """It reaches git by its environment and the server by a header."""
    url = server.make("private/course", {"x": "secret solution"})
    job = a_job(
        command="cat x; cat .git/config; env; while [ ! -e go ]; do sleep 0.05; done",
        inputs=cloning(url, path=".", token="ssm:git"),
    )
    one = machine(assignments=[job], inbox=True).start()
    one.wait("hello")
    one.write_inbox(1, [{**job, "values": {"ssm:git": TOKEN}}])
    one.wait("start")
    assert not processes_with(TOKEN)
    state = one.root / "var/lib/spillway"
    assert not [p for p in state.rglob("*") if p.is_file() and not p.is_symlink() and TOKEN.encode() in p.read_bytes()]
    (state / "work/job-1.1/work/go").touch()
    finish = one.wait("finish")
    assert finish["log"]["text"].startswith("secret solution"), finish
    assert TOKEN not in str(one.pings())
    assert "GIT_CONFIG" not in finish["log"]["text"]
    assert all(server.authorizations)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"url": "/none.git"}, "not found"),
        ({"branch": "nowhere"}, "nowhere"),
        ({"url": "/private/course.git"}, "wants a token"),
        ({"url": "/private/course.git", "token": "ssm:git"}, "does not accept the secret ssm:git"),
    ],
    ids=["none", "branch", "no-token", "wrong-token"],
)
def test_what_cannot_be_fetched_fails_the_job_with_gits_own_sentence(machine, server, changes, says):
    """No other host would get it either."""
    server.make("course", {"x": "x"})
    server.make("private/course", {"x": "x"})
    given = {"url": "/course.git", **changes}
    inputs = cloning(server.url + given.pop("url"), **given)
    job = a_job(inputs=inputs, values={"ssm:git": "wrong-token-12345"})
    refused = machine(assignments=[job]).start().wait("refused")
    assert refused["why"] == "bad_input", refused
    assert says in refused["reason"]
    assert "wrong-token" not in refused["reason"]


def test_a_server_that_fails_is_asked_again_then_the_attempt_is_given_back(machine, server):
    """First to itself, some seconds later; then to the control plane, without blame."""
    url = server.make("course", {"x": "came"})
    server.failing = 1
    one = machine(assignments=[a_job(command="cat x", inputs=cloning(url, path="."))]).start()
    assert one.wait("finish")["log"]["text"] == "came"
    server.failing = 99
    one.write_inbox(1, [a_job("job-2", inputs=cloning(url))])
    one.ring()
    refused = one.wait("refused", "job-2")
    assert refused["why"] == "unprepared"
    assert "503" in refused["reason"]


def test_a_repository_with_links_out_of_it_leads_no_input_out(machine, server, tmp_path):
    """Its author chose them; what is placed afterwards is placed by the agent itself."""
    url = server.make("course", {"out": f"-> {tmp_path}", "x": "x"})
    inputs = [*cloning(url, path="."), {"path": "out/planted", "text": "x"}]
    refused = machine(assignments=[a_job(inputs=inputs)]).start().wait("refused")
    assert refused["why"] == "bad_input"
    assert not (tmp_path / "planted").exists()


def test_two_repositories_cannot_share_a_folder(machine, server):
    """The second would read what the first has left as its configuration."""
    url = server.make("course", {"x": "x"})
    job = a_job(inputs=[*cloning(url), *cloning(url)])
    assert "two repositories in one folder" in machine(assignments=[job]).start().wait("refused")["reason"]


def test_a_repository_is_held_to_the_jobs_disk(machine, server):
    """A few bytes may unpack to gigabytes."""
    url = server.make("course", {"big": "\0" * 60_000_000})
    refused = machine(assignments=[a_job(inputs=cloning(url), disk_mib=20)]).start().wait("refused")
    assert refused["why"] == "bad_input", refused


def test_a_cancel_ends_the_fetching(machine, server):
    """It may take ten minutes."""
    url = server.make("course", {"x": "x"})
    server.failing = 99
    one = machine(assignments=[a_job(inputs=cloning(url))]).start()
    one.until(lambda: server.failing < 99)
    one.write_inbox(1, [], cancel=[{"job": "job-1", "attempt": 1}])
    one.ring()
    assert one.wait("finish")["outcome"] == "cancelled"


def test_what_git_says_is_told_without_the_token():
    """Whatever a server echoes: the sentence is for the API and for logs."""
    hidden = git.secrets(Git("https://h/r"), TOKEN)
    header = next(value for name, value in hidden.items() if name.startswith("GIT_CONFIG_VALUE")).rpartition(" ")[2]
    said = f"remote: you sent {header}\nfatal: {TOKEN} is not known: {header}"
    told = git.failure(Git("https://h/r", token="ssm:t"), 128, "", said, (TOKEN, header))
    assert told.sentence == "the repository https://h/r could not be fetched: fatal: *** is not known: ***"


def test_words_of_the_spec_are_never_options_or_commands():
    """A branch or a path could begin with a dash, or hold a quote."""
    text = git.command("-x/y'$(touch /tmp/z)", Git("https://h/`id`.git", "a;b"))
    assert "-- '-x/y'\"'\"'$(touch /tmp/z)'" in text
    assert "-- 'https://h/`id`.git' 'a;b'" in text
    assert subprocess.run(["sh", "-n", "-c", text], check=False).returncode == 0
