"""Docker as data: what its client is told, and what is made of what it answers. No engine is needed for any of it."""

import os
import subprocess
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.engine import Engine, Said
from agent.images import Pinned
from agent.manifest import settings
from agent.refusal import Refusal, refuse_image
from agent.sandbox import Ask, Mount
from agent.sandbox.container import Container
from agent.sandbox.docker import arguments, lacks, said

IMAGE = Pinned("sha256:" + "a" * 64, "course/grader@sha256:" + "b" * 64, (), 1)
ASK = Ask(
    "make check",
    "/var/lib/spillway/work/job-1.1/work",
    "/var/lib/spillway/work/job-1.1/tmp",
    False,
    {"LEVEL": "3"},
    "job-1",
    1,
    200001,
    "/grade",
    {"TOKEN": "hunter2"},
    (Mount("/host/checkpoint", "/checkpoint", True, "SPILLWAY_CHECKPOINT_DIR"), Mount('/odd,"path', "/bundle")),
    IMAGE,
    0.5,
    512,
    64,
    1 << 20,
)


def words(ask=ASK, network="none"):
    return arguments(ask, "spillway-x-job-1.1", "x", network)


FENCES = [
    "--init",
    "--network none",
    "--read-only",
    "--cap-drop ALL",
    "--security-opt no-new-privileges",
    "--user 200001:200001",
    "--memory 512m",
    "--memory-swap 512m",
    "--cpus 0.500",
    "--pids-limit 64",
    "--ulimit core=0",
    "--ulimit fsize=1048576",
    "--ulimit nofile=4096",
    "--ipc private",
    "--cgroupns private",
    "--pull never",
    "--log-driver none",
    "--no-healthcheck",
    "--restart no",
    "--name spillway-x-job-1.1",
    "--label spillway.host=x",
    "--tmpfs /run:nosuid,nodev,mode=1777,size=64m",
    "--mount type=bind,source=/var/lib/spillway/work/job-1.1/work,target=/grade",
    "--mount type=bind,source=/var/lib/spillway/work/job-1.1/tmp,target=/tmp",
    "--mount type=bind,source=/host/checkpoint,target=/checkpoint",
    '--mount type=bind,"source=/odd,""path",target=/bundle,readonly',
    "--workdir /grade",
    "--env LEVEL=3",
    "--env HOME=/grade",
    "--env SPILLWAY_CHECKPOINT_DIR=/checkpoint",
    "--entrypoint /bin/sh",
]
DANGERS = ("--privileged", "--cap-add", "--device", "--pid", "--userns", "--publish", "--volumes-from")


@pytest.mark.parametrize("fence", FENCES)
def test_every_fence_of_a_container_is_said(fence):
    assert f" {fence} " in f" {' '.join(words())} "


def test_a_container_that_may_be_its_images_own_user_has_power_over_files_users_and_processes_only():
    """As graders need it that are root and start a submission as somebody else. Every other fence stands."""
    told = words(ASK._replace(as_image=True))
    assert "--user" not in told
    assert "--read-only" not in told
    added = {power for word, power in pairwise(told) if word == "--cap-add"}
    assert added == {"CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "AUDIT_WRITE"}
    others = [fence for fence in FENCES if not fence.startswith(("--read-only", "--user"))]
    assert [fence for fence in others if f" {fence} " not in f" {' '.join(told)} "] == []


def test_nothing_opens_a_fence_again_and_the_command_comes_last():
    told = words()
    assert not [word for word in told if word.partition("=")[0] in DANGERS or "docker.sock" in word]
    assert told.count("--security-opt") == told.count("--network") == told.count("--user") == 1
    at = told.index(IMAGE.id)
    assert told[at + 1] == "-c"
    assert told[-1] == "make check"
    assert not [word for word in told[at:] if word.startswith("--")], "all options are before the image"


@given(
    st.dictionaries(
        st.from_regex(r"[A-Z]{1,8}", fullmatch=True),
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20),
        min_size=1,
    )
)
def test_values_of_secrets_reach_the_command_and_no_argument(secrets):
    """The engine writes arguments and variables to its disk. Whatever a value holds, the shell reads it back as it was."""
    reserved = {"IFS", "PATH", "PWD", "PPID", "OPTIND", "OPTARG", "LINENO", "ENV", "MAIL", "PS"}
    secrets = {name: value for name, value in secrets.items() if name not in reserved}
    told = words(ASK._replace(secrets=secrets))
    plain = words(ASK._replace(secrets=dict.fromkeys(secrets, "")))
    assert told == plain
    if not secrets:
        return
    assert "--interactive" in told
    script = told[told.index("-c") + 1]
    show = "; ".join(f'printf "%s\\0" "${name}"' for name in sorted(secrets)) + "; cat; env"
    done = subprocess.run(
        ["/bin/sh", "-c", script, "sh", show], input=said(secrets) + b"more", capture_output=True, timeout=10
    )
    shown = done.stdout.split(b"\0")
    assert [value.decode() for value in shown[:-1]] == [secrets[name] for name in sorted(secrets)]
    assert b"_n=" not in shown[-1], "nothing of ours stays"
    assert not shown[-1].startswith(b"more"), "the input is given up"


def test_the_real_client_knows_every_flag():
    """It reads its arguments before it looks for an engine, so that one which it does not know is told here and not on a host."""
    from shutil import which

    program = which("docker")
    if program is None:
        pytest.skip("there is no docker client: whether it knows our flags is not tested here")
    engine = Engine(program, os.environ["PATH"])
    engine.environment = {"DOCKER_HOST": "unix:///nonexistent/docker.sock", "PATH": os.environ["PATH"]}
    everything = [*words(ASK._replace(network=True), "spillway")]
    for asked in (
        everything,
        ["pull", "--quiet", "x"],
        ["rm", "--force", "--volumes", "x"],
        ["image", "rm", "--force", "x"],
    ):
        answer = engine.ask(*asked)
        assert answer.code
        assert "connect to the Docker daemon" in answer.err or "no such file" in answer.err, answer.err
    assert "unknown flag" in engine.ask("run", "--no-such-fence", "x").err


def test_what_an_image_declares_as_a_volume_is_memory_that_is_counted():
    """The engine would give it disk, as much as there is; what we mount ourselves stays ours."""
    told = words(ASK._replace(image=IMAGE._replace(volumes=("/data", "/grade", "/tmp/", "relative", "/a:b"))))
    assert [word.partition(":")[0] for word in told if ":nosuid" in word] == ["/run", "/data"]


def test_an_image_keeps_its_own_path_unless_the_job_says_another():
    """What is in an image is found by the image's own variables."""
    conda = ASK._replace(image=IMAGE._replace(path="/opt/conda/bin:/bin"))
    door = Mount("/host/door", "/run/spillway", variable="SPILLWAY_AGENT_DIR", on_path=True)
    assert "PATH=/opt/conda/bin:/bin" in words(conda)
    assert "PATH=/opt/conda/bin:/bin:/run/spillway" in words(conda._replace(mounts=(door,)))
    assert "PATH=/x" in words(conda._replace(environment={"PATH": "/x"}))
    assert not [word for word in words() if word.startswith("LANG=")]


@pytest.mark.parametrize(
    ("facts", "what"),
    [
        ({"SecurityOptions": ["name=apparmor", "name=seccomp,profile=default"], "MemoryLimit": True}, ""),
        ({"SecurityOptions": ["name=seccomp,profile=builtin", "name=cgroupns"]}, ""),
        ({"SecurityOptions": ["name=seccomp,profile=unconfined"]}, "filters no system calls"),
        ({"SecurityOptions": []}, "filters no system calls"),
        ({}, "filters no system calls"),
        ({"SecurityOptions": ["name=seccomp,profile=default"], "MemoryLimit": False}, "cannot limit memory"),
        ({"SecurityOptions": ["name=seccomp,profile=default"], "PidsLimit": False}, "cannot limit processes"),
    ],
)
def test_an_engine_that_cannot_hold_an_untrusted_job_is_told(facts, what):
    assert (what in lacks(facts)) if what else lacks(facts) == ""


class Answers(Engine):
    """An engine that says what it is told to, and remembers what it was asked."""

    def __init__(self, **answers):
        super().__init__("docker", "")
        self.answers, self.asked = answers, []

    def ask(self, *told, timeout_s=0.0, stopped=lambda: False):
        self.asked.append(told)
        return self.answers.get(told[0], Said(0, "", ""))


def state(**fields):
    import json

    return Said(
        0, json.dumps({"Id": "c0", "State": {"Status": "exited", "StartedAt": "2026-11-21T10:00:00Z", **fields}}), ""
    )


@pytest.mark.parametrize(
    ("answer", "client", "fault"),
    [
        (state(ExitCode=126), 126, ""),
        (state(ExitCode=125), 125, ""),
        (state(ExitCode=127), 127, ""),
        (state(ExitCode=0), 0, ""),
        (
            state(Status="created", StartedAt="0001-01-01T00:00:00Z", Error="no such device", ExitCode=127),
            127,
            "could not be started: no such",
        ),
        (state(ExitCode=137), 125, "lost its container"),
        (Said(1, "", "Error: No such container: x"), 125, "made no container"),
        (Said(1, "", "Cannot connect to the Docker daemon"), 125, "does not answer"),
    ],
)
def test_the_engines_exit_codes_are_told_from_the_commands(answer, client, fault):
    """125 to 127 may be either's: the container's own state says whose."""
    container = Container(Answers(container=answer), "x")
    container.kill()
    found = container.fault(client)
    assert (fault in found) if fault else found == ""


def test_a_container_that_runs_is_killed_and_then_looked_at_again():
    """The end of the client is not the end of the container."""
    engine = Answers(container=state(Running=True, ExitCode=0))
    assert not Container(engine, "x").kill()
    assert [told[0] for told in engine.asked] == ["container", "kill", "container"]


def test_an_engine_that_does_not_answer_has_ended_nothing():
    assert not Container(Answers(container=Said(1, "", "Cannot connect to the Docker daemon")), "x").kill()


@pytest.mark.parametrize(
    ("image", "said", "containers", "why"),
    [
        ("course/grader", {}, True, ""),
        ("", {"container_image": "debian:12"}, True, ""),
        ("", {}, True, "bad_input"),
        ("-v/:/host", {}, True, "bad_input"),
        ("course/grader", {}, False, "no_sandbox"),
        ("course/grader", {"images": "ignore"}, False, ""),
        ("", {"container_image": "debian:12"}, False, ""),
    ],
)
def test_nothing_runs_in_other_surroundings_than_were_asked_for(image, said, containers, why):
    """A host that was launched before its pool became one of containers gives such jobs back."""
    found = ""
    try:
        refuse_image(image, settings(said), containers)
    except Refusal as refusal:
        found = refusal.why
    assert found == why


def test_an_engine_that_starts_after_the_agent_is_waited_for(tmp_path, monkeypatch):
    """At a machine's boot nobody knows which is first. One that never answers is told, in words."""
    from agent.sandbox import choose

    client = tmp_path / "docker"
    facts = '{"ServerVersion": "28", "SecurityOptions": ["name=seccomp,profile=builtin"], "Driver": "overlay2"}'
    client.write_text(
        f"#!/bin/sh\n[ -e {tmp_path}/tried ] && echo '{facts}' && exit 0\ntouch {tmp_path}/tried\necho nobody >&2; exit 1\n"
    )
    client.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    hasty = choose("docker", str(tmp_path / "w/.probe"), 200001)
    assert (hasty.default, hasty.reason) == (None, "the pool wants Docker, and Docker does not answer: nobody")
    (tmp_path / "tried").unlink()
    found = choose("docker", str(tmp_path / "w/.probe"), 200001, 5.0)
    assert found.default is not None
    assert found.untrusted
