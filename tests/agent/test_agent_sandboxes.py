"""What every sandbox does alike, and what the two that confine do alike: bubblewrap, Docker, none."""

import os
import uuid
from pathlib import Path

import pytest
from agent_machine import processes_with
from container_images import a_small_image

from agent import cgroups, folder, minder
from agent.cgroups import Group
from agent.clock import since_boot
from agent.limits import Limits
from agent.paths import AttemptPaths
from agent.sandbox import Ask, Mount, choose
from agent.supervise import Bounds, Command, Stopper, told_to

UID = 899900
KINDS = ("bwrap", "docker", "none")
CONFINING = ("bwrap", "docker")


@pytest.fixture(scope="module")
def chosen(tmp_path_factory):
    """`chosen(kind)`: the sandbox and the image for it; one that this machine cannot have skips its tests with a sentence."""
    made = {}

    def make(kind):
        if kind not in made:
            place = tmp_path_factory.mktemp(kind)
            place.chmod(0o755)
            sandbox = choose(kind, str(place / "state" / "work" / ".probe"), UID)
            image = a_small_image(sandbox.default.engine, place)[1] if kind == "docker" and sandbox.default else None
            made[kind] = (sandbox, image)
        sandbox, image = made[kind]
        if sandbox.default is None:
            pytest.skip(f"{sandbox.reason}: what commands see under {kind} is not tested here")
        return sandbox.default, image

    yield make
    for sandbox, image in made.values():
        if image is not None:
            sandbox.default.engine.ask("image", "rm", "--force", image.id)


@pytest.fixture
def run(chosen, tmp_path):
    """`run(kind, command)`: how the command ended, and what it printed."""
    places = cgroups.find()

    def make(kind, command, stop="", disk_bytes=1 << 30, **fields):
        sandbox, image = chosen(kind)
        top = tmp_path / kind
        paths = AttemptPaths(str(top))
        if not top.exists():
            for path in (top / "work", top / "tmp"):
                path.mkdir(parents=True)
            if sandbox.drops_uid:
                for path in Path(top).resolve().parents:
                    if path.stat().st_uid == os.getuid() and path != Path("/"):
                        path.chmod(path.stat().st_mode | 0o011)
                folder.give(str(top), UID)
        limits = {"cpu": 1.0, "memory_mib": 128, "processes_max": 64, "file_bytes": 1 << 20, "image": image}
        ask = Ask(command, f"{top}/work", f"{top}/tmp", False, {}, uuid.uuid4().hex, 1, UID)
        ask = ask._replace(**limits)._replace(**fields)
        group = sandbox.group(ask.job, 1) or (Group(places, "spillway-test-" + ask.job) if places.folders else None)
        heard, stopper = bytearray(), Stopper()

        def feed(data):
            heard.extend(data)
            if stop and stop.encode() in heard:
                stopper.stop("cancel")

        try:
            pairs = Limits(file_bytes=ask.file_bytes, cpu_s=30, memory_bytes=0, processes=0).pairs()
            minder.prepare(paths)
            launch = sandbox.launch(ask)
            held = minder.start(paths, launch, group, pairs)
            full = lambda: "disk" if ask.as_image and group.outgrown(disk_bytes) else ""  # noqa: E731
            bounds = Bounds(since_boot() + 20, full, lambda why: None)
            ended = Command(held, group, launch.keeper).run(bounds, stopper, told_to(feed))
            assert kind != "docker" or ended.killed or not group.fault(ended.exit_code)
        finally:
            stopper.close()
            if group is not None:
                group.kill()
                group.remove()
        return ended, heard.decode()

    return make


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("command", "code"), [("exit 7", 7), ("exit 125", 125), ("nowhere", 127)])
def test_a_commands_exit_code_is_its_own(run, kind, command, code):
    assert run(kind, command)[0].exit_code == code


@pytest.mark.parametrize("kind", KINDS)
def test_a_command_sees_its_variables_and_none_of_the_agents(run, kind, monkeypatch):
    """Both channels of its output come in their order."""
    monkeypatch.setenv("AGENTS_OWN", "1")
    fields = {
        "environment": {"LEVEL": "3", "LD_LIBRARY_PATH": "/x"},
        "secrets": {"TOKEN": "two\nlines", "LD_BIND_NOW": ""},
    }
    ended, printed = run(kind, 'echo "$LEVEL $SPILLWAY_ATTEMPT"; echo "$TOKEN" >&2; env; pwd', **fields)
    assert ended.exit_code == 0, printed
    assert printed.startswith("3 1\ntwo\nlines\n")
    assert "AGENTS_OWN" not in printed
    assert "SPILLWAY_SECRET" not in printed


@pytest.mark.parametrize("kind", KINDS)
def test_a_value_of_a_secret_is_in_no_argument_on_the_host(run, kind):
    """Everybody on a host can read those."""
    seen = []

    word = uuid.uuid4().hex
    ended, printed = run(kind, 'echo "$TOKEN"; exec sleep 0.3', stop=word, secrets={"TOKEN": word})
    seen = processes_with(word)
    assert word in printed
    assert ended.killed == "cancel"
    assert not seen


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_command_writes_is_where_the_host_looks_for_it(run, kind, tmp_path):
    script = "echo made > out; echo there > $TMPDIR/t; echo $SPILLWAY_INTERRUPTION; pwd"
    ended, printed = run(kind, script)
    assert ended.exit_code == 0, printed
    work = tmp_path / kind / "work"
    assert (work / "out").read_text() == "made\n"
    assert (tmp_path / kind / "tmp" / "t").read_text() == "there\n"
    where = [f"{tmp_path}/none/tmp", str(tmp_path / "none/work")] if kind == "none" else ["/tmp", "/job"]
    assert printed.splitlines() == [f"{where[0]}/spillway-interruption.json", where[1]]
    assert (work / "out").stat().st_uid == (0 if kind == "none" else UID)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_shown_is_where_its_variable_says_and_only_writable_if_it_was_meant_to_be(run, kind, tmp_path):
    shown, open_ = tmp_path / "shown", tmp_path / "open"
    for path in (shown, open_):
        path.mkdir()
        path.chmod(0o777)
    (shown / "file").write_text("seen")
    mounts = (Mount(str(shown), "/shown", False, "SHOWN"), Mount(str(open_), "/open,1", True, "OPEN"))
    script = 'cat $SHOWN/file; echo kept > "$OPEN/k"; echo no > $SHOWN/n; true'
    _, printed = run(kind, script, mounts=mounts)
    assert printed.startswith("seen")
    assert (open_ / "k").read_text() == "kept\n"
    assert (shown / "n").exists() == (kind == "none"), "none can only leave things where they are"


@pytest.mark.parametrize("kind", KINDS)
def test_a_command_that_is_ended_has_time_to_say_so(run, kind):
    ended, printed = run(kind, "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.05; done", stop="up")
    assert ended.killed == "cancel"
    assert ended.exit_code == 3
    assert "bye" in printed


@pytest.mark.parametrize(("kind", "stop"), [*((kind, "") for kind in KINDS), ("docker", "up")])
def test_nothing_of_a_command_outlives_it(run, kind, stop):
    """Not what ignores signals, nor what has made itself a session of its own."""
    nap = f"{9000 + uuid.uuid4().int % 1000}.{uuid.uuid4().int % 10**9:09}"
    script = f"trap '' TERM; setsid sleep {nap} & (sleep {nap} &) ; echo up; " + ("sleep 30" if stop else "true")
    ended, _ = run(kind, script, stop=stop)
    assert ended.clean
    assert not processes_with(nap)


@pytest.mark.parametrize("kind", KINDS)
def test_no_file_grows_beyond_its_limit(run, kind, tmp_path):
    ended, _ = run(kind, "dd if=/dev/zero of=big bs=65536 count=64 2>/dev/null")
    assert ended.exit_code not in (0, None)
    assert (tmp_path / kind / "work" / "big").stat().st_size <= 1 << 20


def test_a_container_of_its_images_user_writes_where_it_likes_and_is_counted(run, tmp_path):
    """Its root may become somebody else, and never more than it was."""
    script = "id -u; echo x > /etc/made && echo wrote; dd if=/dev/zero of=/fill bs=65536 count=12 2>/dev/null; echo up; sleep 9"
    ended, printed = run("docker", script, as_image=True, disk_bytes=1 << 19)
    assert printed.startswith("0\nwrote\nup")
    assert ended.killed == "disk"


@pytest.mark.parametrize("kind", CONFINING)
@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("id -u", str(UID)),
        ("cat {secret}", "No such file"),
        ("echo x > /etc/x", "Read-only"),
        ("ls /proc | grep -c '^[0-9]'; for p in /proc/[0-9]*; do n=$((n+1)); done; [ $n -lt 9 ] && echo few", "few"),
        ("cat /proc/net/dev | wc -l", "3"),
        ("ls /run/docker.sock /var/lib/docker /var/lib/spillway", "No such file"),
        (
            "while read k v; do case $k in CapEff:|CapBnd:|NoNewPrivs:) echo $v;; esac; done < /proc/self/status",
            "0000000000000000\n0000000000000000\n1",
        ),
        ("dd if=/dev/zero of=/dev/shm/x bs=1M count=1 2>/dev/null && echo room", "room"),
    ],
)
def test_a_confined_command_sees_nothing_of_its_host_and_has_no_power(run, kind, question, answer, tmp_path):
    secret = tmp_path / "manifest.json"
    secret.write_text("the host's own")
    assert answer in run(kind, "exec 2>&1; " + question.format(secret=secret))[1]
