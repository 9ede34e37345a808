"""Nothing is left of machines: not when the embedded cloud stops, not when it is killed, not for a user without rights."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from machine_cloud import eventually, machine_cloud

from localcloud.instances import cgroups

PROJECT = Path(__file__).resolve().parents[2]
SYSTEM_PYTHON = Path("/usr/bin/python3")
# Something of the machine in every way that could survive it: a daemon, a service, one that ignores SIGTERM.
BUSY = """#!/bin/sh
root=${SPILLWAY_ROOT:-}
trap '' TERM
setsid sh -c 'while :; do sleep 7654; done' &
sleep 7654 &
[ "$root" ] || mkdir /sys/fs/cgroup/memory/job 2>/dev/null
printf '[Service]\\nExecStart=/bin/sleep 7654\\nRestart=always\\n' >$root/etc/systemd/system/s.service
systemctl enable --now s
echo ready
"""
# A child process that is the embedded cloud, and says where its machines are.
CLOUD = """
import json, sys, time
from pathlib import Path
from machine_cloud import MachineCloud
cloud = MachineCloud(Path(sys.argv[1]), isolation=sys.argv[2])
cloud.start()
ids = cloud.launch(sys.argv[3], count=2)
cloud.ran(*ids)
print(json.dumps({"ids": ids, "isolation": cloud.fleet.isolation}), flush=True)
time.sleep(1000)
"""


def processes_of(folder: Path) -> list[str]:
    """Command lines of processes that have to do with a state folder: by console, by root, or by environment."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            console = os.readlink(f"/proc/{name}/fd/2")
            command = Path(f"/proc/{name}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in console or (str(folder) in command and "hypervisor" in command):
            found.append(f"{name} {command}")
    return found


def groups_of(process: int) -> list[Path]:
    """Control groups that the cloud in `process` made."""
    folders = [Path(parent, name) for parent, names, _ in os.walk("/sys/fs/cgroup") for name in names]
    return [folder for folder in folders if folder.name.startswith(f"spillway-{process}-")]


def mounts_of(folder: Path) -> list[str]:
    return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(folder) in line]


@pytest.mark.parametrize("isolation", ["namespaces", "none"])
def test_stop_leaves_no_process_no_mount_no_group_and_no_disk(tmp_path: Path, isolation: str) -> None:
    """Machines that are busy, deaf and divided into groups, all at once."""
    with machine_cloud(tmp_path, isolation=isolation) as cloud:
        ids = cloud.launch(BUSY, count=2)
        cloud.ran(*ids)
        assert len(processes_of(tmp_path)) >= 6
        consoles = [cloud.fleet.machine(each).console for each in ids]
        disks = [cloud.fleet.machine(each).disk for each in ids]
    assert processes_of(tmp_path) == []
    assert groups_of(os.getpid()) == []
    assert mounts_of(tmp_path) == []
    assert not any(disk.exists() for disk in disks)
    assert all("ready" in console.read_text() for console in consoles)


@pytest.fixture
def killed(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """A running cloud in a process of its own."""
    path = f"{PROJECT}:{Path(__file__).parent}"
    with (tmp_path / "child.log").open("w") as log:
        child = subprocess.Popen(
            [sys.executable, "-c", CLOUD, str(tmp_path), request.param, BUSY],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
    try:
        assert child.stdout is not None
        line = child.stdout.readline()
        assert line, (tmp_path / "child.log").read_text()
        yield child, json.loads(line)
    finally:
        child.kill()
        child.wait()


@pytest.mark.parametrize("killed", ["namespaces", "none"], indirect=True)
def test_a_killed_cloud_leaves_no_machine(killed: tuple[subprocess.Popen[str], dict[str, Any]], tmp_path: Path) -> None:
    """SIGKILL gives nobody a chance to clean up; machines notice that nobody is there."""
    child, _ = killed
    assert len(processes_of(tmp_path)) >= 6
    child.send_signal(signal.SIGKILL)
    child.wait()
    eventually(lambda: not processes_of(tmp_path), within_s=60)
    eventually(lambda: not groups_of(child.pid), within_s=60)


def test_what_a_killed_cloud_left_is_removed_by_the_next(tmp_path: Path) -> None:
    """When hypervisor and cloud are both killed, their empty control groups stay until a cloud starts again."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    made = cgroups.create(cgroups.hierarchies(), f"spillway-{gone.pid}-7f00")
    cgroups.create(made, "i-0123456789abcdef0")
    with machine_cloud(tmp_path):
        assert groups_of(gone.pid) == []


def test_a_killed_hypervisor_takes_its_machines_along(tmp_path: Path) -> None:
    """Its processes end with it, by the kernel; EC2 then notices that its machines are lost."""
    with machine_cloud(tmp_path, isolation="auto", lost_noticed_s=0.1) as cloud:
        ids = cloud.launch(BUSY, count=2)
        cloud.ran(*ids)
        os.kill(cloud.fleet._vms.process.pid, signal.SIGKILL)
        eventually(lambda: not processes_of(tmp_path))
        for each in ids:
            cloud.until(each, "terminated")
    assert groups_of(os.getpid()) == []


USERLESS = """
import json, socket, sys, threading
from pathlib import Path
from localcloud.instances.vm_host import VmHost
folder, done = Path(sys.argv[1]), threading.Event()
vms = VmHost(lambda report: None)
vms.start(folder / "image", "auto", folder / "log")
def heard(message):
    if message["is"] == "up":
        vms.send(channel[0], {"do": "run", "id": "1", "script": sys.argv[2], "folder": "/", "timeout_s": 10})
    elif message["is"] == "done":
        print(json.dumps({"isolation": vms.isolation, "why": vms.why, **message}), flush=True)
        done.set()
channel = []
order = {"id": "i-1", "disk": str(folder / "disk"), "console": str(folder / "console"), "image": str(folder / "image"),
         "hostname": "ip-10-0-0-1", "python": "", "environment": {"PATH": "/machine/bin:/usr/bin:/bin"}, "grace_s": 1, "first_boot": True}
vms.do(lambda: channel.append(vms.boot(order, heard)))
done.wait(10)
vms.stop()
"""


@pytest.mark.skipif(os.getuid() != 0 or not SYSTEM_PYTHON.exists(), reason="needs root, to be someone else")
def test_a_user_without_rights_has_machines_too(tmp_path: Path) -> None:
    """By a user namespace: root in the machine is nobody outside, and the agent's sandbox works within."""
    folder = tmp_path / "nobody"
    folder.mkdir()
    for parent in (folder, *list(folder.parents)[:-2]):
        parent.chmod(0o755)
    os.chown(folder, 65534, 65534)
    script = "id -u; hostname; touch /opt/x && echo mine"
    if shutil.which("bwrap"):
        script += "; bwrap --unshare-all --ro-bind / / --proc /proc --dev /dev sh -c 'echo sandboxed $(ls /proc | grep -c ^[0-9])'"
    finished = subprocess.run(
        [str(SYSTEM_PYTHON), "-c", USERLESS, str(folder), script],
        user=65534,
        group=65534,
        extra_groups=[],
        cwd=folder,
        env={"PYTHONPATH": str(PROJECT), "PYTHONDONTWRITEBYTECODE": "1", "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    answer = json.loads(finished.stdout)
    if answer["isolation"] == "none":
        pytest.skip(f"this host gives users no namespaces: {answer['why']}")
    assert answer["out"].splitlines()[:3] == ["0", "ip-10-0-0-1", "mine"], answer
    if shutil.which("bwrap"):
        assert "sandboxed" in answer["out"], answer
    eventually(lambda: not processes_of(folder))


def test_twenty_boots_cost_little(tmp_path: Path) -> None:
    """A machine costs under 60 ms of our own processor time, so that a batch of twenty is not slowed by its own clouds."""
    with machine_cloud(tmp_path, isolation="auto", boot_s=0.0) as cloud:
        cloud.booted()  # moto reads its instance types once
        before, started = os.times(), time.monotonic()
        ids = cloud.launch("#!/bin/sh\n:\n", count=20)
        cloud.ran(*ids)
        after, elapsed_s = os.times(), time.monotonic() - started
        spent_s = after.user + after.system - before.user - before.system
        assert spent_s / 20 < 0.06, f"{spent_s * 50:.1f} ms each"
        assert elapsed_s < 30
