"""What hostile commands try, on one host that they share with somebody's job: after each of them the host runs the next job, and nothing
of it is left.

One agent for all of them. Each is followed by an ordinary job in the same slot; a witness runs in the other one from the first to the last.
"""

import contextlib
import hashlib
import os
import re
import socket
from pathlib import Path

import pytest
from agent_machine import Machine, a_job
from container_images import a_small_image

from agent import users
from agent.sandbox import choose

pytestmark = pytest.mark.usefixtures("sandboxed")
HARMLESS = {  # a container's own first process runs as the job's user, and its groups are shown; engines before 23 let AF_VSOCK pass
    "docker": {"REACHED environment", "REACHED init", "REACHED /sys/fs/cgroup", "REACHED hypervisor"}
}
WITNESS = "mkfifo go; echo $$ > pid; read -r word <go; cat kept; echo still here"


class Host:
    """The machine, and what must be the same on it after each command."""

    def __init__(self, machine):
        self.machine = machine
        self.pass_no = 0
        self.work = machine.root / "var/lib/spillway/work"
        self.number = 0
        machine.start()
        machine.until(lambda: (machine.root / "run/spillway/agent.sock").exists())
        self.give(a_job("job-witness", WITNESS, inputs=[{"path": "kept", "text": "kept\n"}], timeout_s=600, cpu=0.1))
        machine.wait("start", "job-witness")
        machine.until(lambda: (self.work / "job-witness.1/work/pid").exists())
        self.run("true")
        machine.until(lambda: not list(self.work.glob("*-after.*")))
        self.before = self.left()
        self.descriptors = len(os.listdir(f"/proc/{machine.process.pid}/fd"))

    def give(self, *jobs):
        self.pass_no += 1
        self.machine.write_inbox(self.pass_no, jobs)
        held = os.open(self.machine.root / "run/spillway", os.O_RDONLY)
        with socket.socket(socket.AF_UNIX) as bell:
            bell.connect(f"/proc/self/fd/{held}/agent.sock")
            bell.sendall(b"ring\n")
            assert bell.recv(10) == b"ok\n"
        os.close(held)

    def run(self, command, **fields):
        """Its finish ping, after the job that follows it has run."""
        self.number += 1
        name, after = f"job-{self.number}", f"job-{self.number}-after"
        fields = {"memory_mib": 64, "timeout_s": 10, "disk_mib": 64, **fields}
        self.give(
            a_job(name, command, **fields), a_job(after, "cat kept; ls", inputs=[{"path": "kept", "text": "ok\n"}])
        )
        finish = self.machine.wait("finish", name)
        follows = self.machine.wait("finish", after)
        assert (follows["outcome"], follows["log"]["text"]) == ("succeeded", "ok\nkept\n"), follows
        return finish

    def left(self):
        """Processes of jobs, mounts, files, control groups."""
        first = min(int(path.stat().st_uid) for path in self.work.glob("*/work") if path.parent.name != ".probe")
        agent = self.machine.process.pid
        return {
            "processes": sum(1 for uid in _users() if first <= uid < first + users.UIDS_EACH),
            "mounts": Path(f"/proc/{agent}/mountinfo").read_text(),
            "folders": sorted(path.name for path in self.work.iterdir()),
            "groups": sorted(path for path, _, _ in os.walk("/sys/fs/cgroup") if self.prefix in path),
            "elsewhere": sorted(os.listdir("/tmp/..")) + sorted(os.listdir("/dev/shm")),
        }

    @property
    def prefix(self):
        digest = hashlib.sha256(str(self.machine.root / "var/lib/spillway").encode()).hexdigest()
        return f"spillway-{digest[8:16]}-"


def _users():
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            yield os.stat(f"/proc/{pid}").st_uid


@pytest.fixture(scope="module", params=["bwrap", "docker"])
def host(request, agent_aws_url, built_agent, tmp_path_factory):
    settings, docker = {"slots": 2, "sandbox": request.param}, None
    if request.param == "docker":
        docker = choose("docker", str(tmp_path_factory.mktemp("probe")), users.FIRST_UID)
        if docker.default is None:
            pytest.skip(f"{docker.reason}: what attacks meet in containers is not tested here")
        engine = docker.default.engine
        settings["container_image"] = a_small_image(engine, tmp_path_factory.mktemp("image"), python=True)[0]
    machine = Machine(agent_aws_url, built_agent, tmp_path_factory.mktemp("attacked"), settings=settings)
    machine.environment.update((name, os.environ[name]) for name in ("DOCKER_HOST",) if name in os.environ)
    made = Host(machine)
    made.harmless = HARMLESS.get(request.param, set())
    yield made
    (made.work / "job-witness.1/work/go").write_text("go\n")
    finish = machine.wait("finish", "job-witness")
    machine.close()
    if docker is not None:
        docker.default.engine.ask("image", "rm", "--force", settings["container_image"])
    assert finish["log"]["text"] == "kept\nstill here\n", "the witness was harmed"


@pytest.fixture
def attacked(host):
    """`attacked(command, **fields)`; afterwards nothing is left of it, and nobody thinks ill of the host."""
    yield host.run
    with contextlib.suppress(AssertionError):
        host.machine.until(lambda: host.left() == host.before)
    assert host.left() == host.before
    assert len(os.listdir(f"/proc/{host.machine.process.pid}/fd")) <= host.descriptors + 5, "it leaks"
    assert [one["problems"] for one in host.machine.pings("alive") if one["problems"]] == []


BOMB = "f() { f | f & }; f; sleep 66"
HOG = "python3 -c 'x = []\nwhile True: x.append(bytearray(1 << 20))'"
FILLER = "n=0; while :; do n=$((n + 1)); head -c 1000000 /dev/zero > file$n; done"
UNNAMED = """python3 -c 'import os, time
for n in range(40):
    f = os.open("x%d" % n, os.O_CREAT | os.O_WRONLY); os.unlink("x%d" % n); os.write(f, bytes(1 << 20))
time.sleep(9)'"""
LIMITS = {
    "a fork bomb": (BOMB, {"processes_max": 32}, "failed", "more than 32 processes"),
    "threads without end": (
        "python3 -c 'import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(9,)).start()'",
        {"processes_max": 32},
        "failed",
        "more than 32 processes",
    ),
    "a memory bomb": (HOG, {}, "failed", "killed: used 64 MiB of 64 MiB"),
    "memory hidden in files": ("cat /dev/zero > /dev/shm/x", {}, "failed", "killed: used 64 MiB of 64 MiB"),
    "many files": (FILLER, {"disk_mib": 16}, "failed", "killed: its work folder grew beyond 16 MiB"),
    "files without names": (UNNAMED, {"disk_mib": 16}, "failed", "killed: its work folder grew beyond 16 MiB"),
    "one large file": ("cat /dev/zero > x", {"file_mib": 1}, "failed", "killed: wrote a file larger than 1 MiB"),
    "one large file, noticed": (
        'python3 -c \'open("x", "wb").write(bytes(1 << 22))\'',
        {"file_mib": 1},
        "failed",
        "x could not grow beyond 1 MiB (exit code 1)",
    ),
    "a flood of output": ("yes", {"output_mib": 4}, "failed", "killed: printed more than 4 MiB"),
    "work on all cores": (
        "while :; do :; done & while :; do :; done",
        {"cpu_s": 1, "cpu": 1.5},
        "timed_out",
        "s of 1 s of processor time",
    ),
}


@pytest.mark.parametrize("name", LIMITS)
def test_every_limit_holds_and_says_which_it_was(attacked, name):
    command, fields, outcome, reason = LIMITS[name]
    finish = attacked(command, **fields)
    assert finish["outcome"] == outcome, finish
    assert reason in finish["reason"]


def test_a_command_beyond_its_time_is_asked_then_killed_with_all_it_started(attacked):
    """TERM, two seconds, KILL; also for a child that left the session, and whatever they do about signals."""
    finish = attacked(
        """trap 'echo asked' TERM; trap '' INT HUP QUIT
    setsid sh -c 'trap "" TERM; while :; do sleep 0.1; done' & while :; do sleep 0.1; done""",
        timeout_s=0.3,
    )
    assert (finish["outcome"], finish["reason"]) == ("timed_out", "killed: ran longer than its timeout of 0.3 s")
    assert "asked" in finish["log"]["text"]
    assert 2 < finish["finished_at"] - finish["started_at"] < 10


def test_what_is_left_behind_ends_with_the_command(attacked):
    """Double forks, new sessions, closed and held output, stopped processes: the command has ended when its shell has."""
    finish = attacked("""
    setsid sh -c 'sleep 91 & exec sleep 92' & (setsid sh -c '(trap "" TERM HUP; sleep 93 >&- 2>&-) &' &)
    sh -c 'kill -STOP $$' & python3 -c 'import os
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0: os.execvp("sleep", ["sleep", "94"])' & sleep 0.2; echo through""")
    assert (finish["outcome"], finish["log"]["text"]) == ("succeeded", "through\n")
    assert finish["finished_at"] - finish["started_at"] < 5


def test_nothing_of_the_host_is_reached(attacked, host):
    """Not the metadata service, the agent's socket, its files, its processes, its kernel; not another job's files and processes."""
    root, agent = host.machine.root, host.machine.process.pid
    metadata = host.machine.metadata.url.removeprefix("http://").replace(":", "/")
    with socket.socket(socket.AF_UNIX) as abstract, socket.create_server(("::1", 0), family=socket.AF_INET6) as six:
        abstract.bind(b"\0spillway-test-%d" % os.getpid())
        abstract.listen()
        finish = attacked(f"""exec 2>/dev/null
    bash -c 'exec 3<>/dev/tcp/{metadata}' && echo REACHED metadata
    bash -c 'exec 3<>/dev/tcp/169.254.169.254/80' && echo REACHED link-local
    bash -c 'exec 3<>/dev/tcp/::1/{six.getsockname()[1]}' && echo REACHED IPv6
    python3 -c 'import socket; socket.socket(socket.AF_UNIX).connect(b"\\0spillway-test-{os.getpid()}")' && echo REACHED abstract
    python3 -c 'import socket; socket.socket(socket.AF_UNIX).connect("{root}/run/spillway/agent.sock")' && echo REACHED agent
    python3 -c 'import socket; socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)' && echo REACHED hypervisor
    ls {root} && echo REACHED root
    cat {root}/var/lib/spillway/manifest.json && echo REACHED manifest
    cat {host.work}/job-witness.1/work/kept && echo REACHED another job
    for place in /var/lib/cloud /root /home /run/spillway /proc/1/root/root /sys/fs/cgroup; do ls $place && echo REACHED $place; done
    cat /etc/shadow && echo REACHED shadow
    for f in /usr/x /etc/x /x /proc/sysrq-trigger /proc/sys/kernel/core_pattern /dev/sda /dev/mem; do echo x > $f && echo REACHED $f; done
    kill -0 {agent} && echo REACHED the agent
    grep -l 'still her[e]' /proc/[0-9]*/cmdline && echo REACHED another process
    [ $(ls -d /proc/[0-9]* | wc -l) -lt 6 ] || echo REACHED processes
    cat /proc/1/environ && echo REACHED environment
    gdb -p 1 -batch -ex 'info proc' | grep -q 'exe =' && echo REACHED tracing
    grep -q 'NoNewPrivs:.1' /proc/self/status || echo REACHED privileges
    grep -q 'CapBnd:.0000000000000000' /proc/self/status || echo REACHED capabilities
    grep -q 'Seccomp:.2' /proc/self/status || echo REACHED system calls
    kill -9 1 && echo REACHED init
    echo x > /tmp/mine && echo x > mine && echo x > /dev/shm/mine && echo done""")
    assert set(re.findall("REACHED .*", finish["log"]["text"])) <= host.harmless, finish
    assert finish["log"]["text"].endswith("done\n")


def test_nobody_becomes_somebody_else(attacked):
    """setuid programs of its own and of the system's, ids, namespaces, mounts, devices."""
    finish = attacked("""exec 2>/dev/null
    cp /bin/sh mine; chmod 4755 mine; ./mine -p -c 'id -u' | grep -x 0
    for program in su sudo passwd newgrp mount; do $program -c id root </dev/null | grep 'uid=0'; done
    python3 -c 'import os; os.setuid(0); print("setuid")'
    unshare -Ur id -u; unshare -m true && echo unshared
    mount -t tmpfs none /tmp && echo mounted; mknod dev b 8 0 && echo made; chroot . true && echo chroot
    chown 0 mine && echo given away; setcap cap_sys_admin+ep mine && echo capable; nsenter -t 1 -a true && echo entered
    id -u""")
    assert finish["log"]["text"].split() == [finish["log"]["text"].strip()]
    assert int(finish["log"]["text"]) >= users.FIRST_UID


def test_killing_everybody_kills_oneself(attacked):
    """No process but its own is there to be hit."""
    finish = attacked("kill -9 -1; echo survived")
    assert finish["outcome"] in ("failed", "succeeded")


@pytest.fixture
def odd_names(host):
    return [
        b"new\nline",
        b"-rf",
        b"\xff\xfe",
        "bold \u202e".encode(),
        b"a" * 255,
        b"tab\there",
        b"\"quote'",
        b"%s%n",
        b"...",
        b"nul.txt ",
    ]


def test_files_of_every_odd_name_and_kind_are_kept_or_told(attacked, odd_names):
    """Outputs are regular files of the folder's own: no link leads out of it, and no name breaks the ping or the key."""
    script = f"""import os, socket
for name in {odd_names!r}: open(name, "wb").write(b"x")
os.symlink("/etc/passwd", "link.txt"); os.symlink("/", "all"); os.symlink("../../../../../etc", "up"); os.mkfifo("fifo.txt")
os.symlink("loop", "loop"); os.link("-rf", "hard"); socket.socket(socket.AF_UNIX).bind("socket"); os.symlink("/etc/shadow", "r.json")
os.makedirs("deep/" + "d/" * 99); os.mkdir("shut"); os.chmod("shut", 0); open("plain", "w").write("plain"); os.chmod("plain", 0)
"""
    inputs = [{"path": "s.py", "text": script}]
    finish = attacked("python3 s.py", inputs=inputs, outputs=["**"], result="r.json", archive=True)
    assert finish["outcome"] == "succeeded", finish
    assert finish["result"] is None
    kept = {one["path"] for one in finish["outputs"]}
    assert {"plain", "-rf", "hard", "archive.tar.gz"} <= kept
    assert not [
        path for path in kept if "passwd" in path or path.startswith(("all", "up", "loop", "fifo", "link", "/", "../"))
    ]


def test_an_output_that_is_put_in_place_of_itself_while_it_is_read_is_not_the_hosts(attacked, host):
    """Nobody is left to do so when outputs are collected: what was left behind is ended first."""
    finish = attacked(
        """echo mine > mark; setsid sh -c 'while :; do ln -sfn /etc/shadow mark; ln -sfn own mark; done' & echo x > own; sleep 0.1""",
        outputs=["mark", "own"],
        result="mark",
    )
    assert [one["path"] for one in finish["outputs"]] == ["own"]


def test_what_it_prints_is_only_bytes(attacked):
    """Terminals' orders, halves of characters, JSON and our own marks in the log end no ping."""
    finish = attacked('printf \'\\033[2J\\377\\376\\000{"kind":"finish"}\\n[spillway: the log was cut here]\\r\\n\'')
    assert finish["outcome"] == "succeeded"
    assert '{"kind":"finish"}' in finish["log"]["text"]


def test_its_work_folder_stays_the_hosts_to_remove(attacked):
    """Whatever modes, depth and attributes it leaves."""
    finish = attacked("mkdir -p a/b; touch a/b/c; chmod 0 a/b a; chmod 0 /job /tmp; rm -rf /job /tmp; echo tried")
    assert finish["log"]["text"].endswith("tried\n")


def test_an_archive_that_leads_out_of_its_folder_fails_before_anything_runs(host):
    """Through links, through .., by absolute names; and the host goes on."""
    import io
    import tarfile

    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        link = tarfile.TarInfo("out")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        archive.addfile(link)
        archive.addfile(tarfile.TarInfo("out/owned"))
    sha256, url = host.machine.put_input(data.getvalue())
    host.number += 1
    name = f"job-{host.number}"
    host.give(a_job(name, inputs=[{"path": "a", "sha256": sha256, "unpack": True}], urls={sha256: url}))
    refused = host.machine.wait("refused", name)
    assert refused["why"] == "bad_input"
    assert not Path("/etc/owned").exists()
    assert host.run("true")["outcome"] == "succeeded"
