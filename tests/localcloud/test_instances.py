"""Machines: what boots, how they end, what survives a reboot - with namespaces and without."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from machine_cloud import MachineCloud, eventually, machine_cloud

SERVICE = """#!/bin/sh
root=${SPILLWAY_ROOT:-}
echo user data ran >>$root/opt/boots
cat >$root/etc/systemd/system/tick.service <<EOF
[Unit]
Description=test
[Service]
Environment=WHO=tick "TWO=two words"
ExecStart=/bin/sh $root/opt/tick.sh
Restart=always
RestartSec=50ms
[Install]
WantedBy=multi-user.target
EOF
echo 'root=${SPILLWAY_ROOT:-}; echo "started $TWO" >>$root/opt/starts; echo $$ >$root/opt/pid; exec sleep 1000' >$root/opt/tick.sh
systemctl daemon-reload && systemctl enable --now tick.service
"""


@pytest.fixture(scope="module", params=["namespaces", "none"])
def cloud(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MachineCloud]:
    options: dict[str, Any] = {"isolation": request.param, "lost_noticed_s": 0.5, "shutdown_grace_s": 1.0}
    with machine_cloud(tmp_path_factory.mktemp(request.param), **options) as started:
        yield started


def root_of(cloud: MachineCloud, instance_id: str) -> str:
    return "" if cloud.fleet.isolation == "namespaces" else str(cloud.fleet.machine(instance_id).disk)


def runs(cloud: MachineCloud, instance_id: str, command: str) -> bool:
    """Filtered on the machine: without namespaces it lists all that runs here, more than Run Command's output holds."""
    return command in cloud.said(instance_id, f"ps axww -o args | grep -x '{command}'")


def test_user_data_runs_as_root_with_its_output_on_the_console(cloud: MachineCloud) -> None:
    """Packed user data is unpacked, as cloud-init does; the console has what it printed."""
    instance_id = cloud.booted("#!/bin/sh\necho I am $(id -u)\necho oops >&2\n", packed=True)
    assert "I am 0\noops\n" in cloud.console(instance_id)


def test_user_data_that_is_no_script_is_not_run_and_the_console_says_so(cloud: MachineCloud) -> None:
    """EC2 takes any user data; only a script is run."""
    assert "does not begin with #!" in cloud.console(cloud.booted("touch /opt/ran"))


def test_the_environment_holds_the_endpoints_and_nothing_of_the_developers(cloud: MachineCloud) -> None:
    """A secret in the developer's shell must not reach a job."""
    printed = cloud.console(cloud.booted("#!/usr/bin/env -S /bin/sh\n/usr/bin/env\n"))
    names = {
        line.partition("=")[0] for line in printed.splitlines() if "=" in line and not line.startswith("spillway:")
    }
    expected = {"PATH", "HOME", "LANG", "AWS_ENDPOINT_URL", "AWS_EC2_METADATA_SERVICE_ENDPOINT"}
    if cloud.fleet.isolation == "none":
        expected.add("SPILLWAY_ROOT")
    assert names - {"PWD", "_", "SHLVL", "OLDPWD"} == expected


def test_every_state_is_described_and_told(cloud: MachineCloud) -> None:
    """pending, running, shutting-down, terminated: each on EC2's record when its event goes out."""
    instance_id = cloud.booted()
    assert cloud.described(instance_id)["State"]["Name"] == "running"
    reply = cloud.ec2.terminate_instances(InstanceIds=[instance_id])["TerminatingInstances"][0]
    assert (reply["PreviousState"]["Name"], reply["CurrentState"]["Name"]) == ("running", "shutting-down")
    cloud.heard(lambda: cloud.states(instance_id) == ["pending", "running", "shutting-down", "terminated"])
    described = cloud.described(instance_id)
    assert described["State"] == {"Code": 48, "Name": "terminated"}
    event = next(event for event in cloud.events if event["detail"]["instance-id"] == instance_id)
    assert event["source"] == "aws.ec2"
    assert event["detail-type"] == "EC2 Instance State-change Notification"
    assert event["resources"] == [f"arn:aws:ec2:us-east-1:123456789012:instance/{instance_id}"]


def test_a_terminated_machine_keeps_its_console_and_loses_its_disk(cloud: MachineCloud) -> None:
    """Twenty jobs an hour must not fill a laptop."""
    instance_id = cloud.booted("#!/bin/sh\necho was here\n")
    cloud.ec2.terminate_instances(InstanceIds=[instance_id])
    cloud.until(instance_id, "terminated")
    machine = cloud.fleet.machine(instance_id)
    eventually(lambda: not machine.disk.exists())
    assert "was here" in cloud.console(instance_id)


def test_a_machine_that_shuts_itself_down_is_terminated(cloud: MachineCloud) -> None:
    """The launch said InstanceInitiatedShutdownBehavior=terminate; nobody calls TerminateInstances."""
    script = "#!/bin/sh\nshutdown -h now\nsleep 1000\n"
    (instance_id,) = cloud.launch(script, InstanceInitiatedShutdownBehavior="terminate")
    cloud.heard(lambda: cloud.states(instance_id)[-1:] == ["terminated"])
    assert cloud.states(instance_id) == ["pending", "running", "shutting-down", "terminated"]
    assert "Client.InstanceInitiatedShutdown" in cloud.described(instance_id)["StateReason"]["Code"]


def test_a_machine_that_may_only_stop_is_stopped_and_starts_again_without_its_user_data(cloud: MachineCloud) -> None:
    """The default of EC2 is stop: the disk stays."""
    instance_id = cloud.booted("#!/bin/sh\necho once >>${SPILLWAY_ROOT:-}/opt/boots\n")
    cloud.run(instance_id, "poweroff")
    cloud.until(instance_id, "stopped")
    cloud.ec2.start_instances(InstanceIds=[instance_id])
    cloud.until(instance_id, "running")
    cloud.ran(instance_id)
    assert cloud.said(instance_id, "cat ${SPILLWAY_ROOT:-}/opt/boots") == "once\n"
    cloud.ec2.terminate_instances(InstanceIds=[instance_id])


def test_a_reboot_starts_what_is_enabled_and_runs_no_user_data(cloud: MachineCloud) -> None:
    """As cloud-init: user data belongs to the first boot. EC2's state stays running, so no event."""
    instance_id = cloud.booted(SERVICE)
    root = root_of(cloud, instance_id)
    assert cloud.said(instance_id, "systemctl is-active tick; systemctl is-enabled tick") == "active\nenabled\n"
    before = len(cloud.states(instance_id))
    cloud.ec2.reboot_instances(InstanceIds=[instance_id])
    disk = cloud.fleet.machine(instance_id).disk
    eventually(lambda: (disk / "opt/starts").read_text().count("started two words") == 2)
    eventually(lambda: cloud.ssm.describe_instance_information()["InstanceInformationList"])
    assert cloud.said(instance_id, f"cat {root}/opt/boots") == "user data ran\n"
    assert len(cloud.states(instance_id)) == before


def test_a_machine_can_reboot_itself(cloud: MachineCloud) -> None:
    """`reboot` in the machine is the same as RebootInstances."""
    instance_id = cloud.booted(SERVICE)
    cloud.run(instance_id, "reboot")
    disk = cloud.fleet.machine(instance_id).disk
    eventually(lambda: (disk / "opt/starts").read_text().count("started") == 2)
    assert cloud.described(instance_id)["State"]["Name"] == "running"


def test_a_service_that_dies_is_restarted_and_one_that_is_stopped_is_not(cloud: MachineCloud) -> None:
    """Restart=always with RestartSec."""
    instance_id = cloud.booted(SERVICE)
    root = root_of(cloud, instance_id)
    pid = cloud.fleet.machine(instance_id).disk / "opt/pid"
    eventually(lambda: pid.exists() and pid.read_text())  # a machine is booted before its services have begun
    first = cloud.said(instance_id, f"cat {root}/opt/pid")
    cloud.run(instance_id, f"kill -9 $(cat {root}/opt/pid)")
    eventually(lambda: pid.read_text() not in ("", first))
    eventually(lambda: cloud.said(instance_id, "systemctl is-active tick") == "active\n")
    assert cloud.run(instance_id, "systemctl stop tick")["Status"] == "Success"
    eventually(lambda: cloud.said(instance_id, "systemctl is-active tick") == "inactive\n")


def test_a_stopped_service_leaves_no_child_behind(cloud: MachineCloud) -> None:
    """A service's children are found although they left its session, as systemd finds them."""
    script = SERVICE.replace("exec sleep 1000", "setsid sleep 4321 & exec sleep 1000")
    instance_id = cloud.booted(script)
    eventually(lambda: runs(cloud, instance_id, "sleep 4321"))
    cloud.run(instance_id, "systemctl stop tick")
    eventually(lambda: not runs(cloud, instance_id, "sleep 4321"))


def test_a_terminated_machine_is_asked_to_end_before_it_is_killed(cloud: MachineCloud) -> None:
    """SIGTERM first, SIGKILL after the grace; who ignores the first gets the second."""
    polite = "#!/bin/sh\ntrap 'echo goodbye; exit 0' TERM\nsleep 4322 & wait\n"
    stubborn = "#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 4323; done\n"
    (first,), (second,) = cloud.launch(polite), cloud.launch(stubborn)
    cloud.until(first, "running")
    cloud.until(second, "running")
    eventually(lambda: cloud.ssm.describe_instance_information()["InstanceInformationList"])
    eventually(lambda: runs(cloud, first, "sleep 4322"))
    eventually(lambda: runs(cloud, second, "sleep 4323"))
    cloud.ec2.terminate_instances(InstanceIds=[first, second])
    cloud.until(first, "terminated")
    cloud.until(second, "terminated")
    assert "goodbye" in cloud.console(first)


def test_a_lost_machine_says_nothing_until_ec2_notices(cloud: MachineCloud) -> None:
    """Between the loss and its discovery EC2's record says running: only missing pings can tell."""
    instance_id = cloud.booted("#!/bin/sh\nsleep 1000 &\n")
    cloud.fleet.lose(instance_id)
    assert cloud.fleet.wait(lambda: cloud.fleet.machine(instance_id).channel is None)
    assert cloud.described(instance_id)["State"]["Name"] == "running"
    assert cloud.states(instance_id) == ["pending", "running"]
    cloud.heard(lambda: cloud.states(instance_id)[-1] == "terminated")


def test_a_spot_interruption_warns_by_event_and_then_terminates(cloud: MachineCloud) -> None:
    """The warning comes first, by EventBridge and by metadata; on-demand machines are never interrupted."""
    (spot,) = cloud.launch(InstanceMarketOptions={"MarketType": "spot"})
    cloud.ran(spot)
    cloud.fleet.interrupt(spot, in_s=0.3)
    cloud.heard(lambda: cloud.states(spot)[-1:] == ["terminated"])
    kinds = [event["detail-type"] for event in cloud.events if event["detail"]["instance-id"] == spot]
    assert kinds.index("EC2 Spot Instance Interruption Warning") == 2
    assert cloud.described(spot)["StateReason"]["Code"] == "Server.SpotInstanceTermination"
    with pytest.raises(ValueError, match="not a spot instance"):
        cloud.fleet.interrupt(cloud.booted())


def test_an_instance_terminated_before_it_booted_never_boots(cloud: MachineCloud) -> None:
    """Terminating what is still pending is common when a batch is cancelled."""
    (instance_id,) = cloud.launch("#!/bin/sh\necho booted\n")
    cloud.ec2.terminate_instances(InstanceIds=[instance_id])
    cloud.until(instance_id, "terminated")
    other = cloud.booted()  # booted after it would have
    assert "booted" not in cloud.console(instance_id)
    cloud.ec2.terminate_instances(InstanceIds=[other])


def test_twenty_machines_boot_together(cloud: MachineCloud) -> None:
    """One RunInstances, twenty user data scripts, each with its own launch index."""
    script = "#!/bin/sh\necho me >${SPILLWAY_ROOT:-}/opt/me\n"
    ids = cloud.launch(script, count=20)
    cloud.ran(*ids)
    assert all((cloud.fleet.machine(each).disk / "opt/me").exists() for each in ids)
    cloud.ec2.terminate_instances(InstanceIds=ids)
    for each in ids:
        cloud.until(each, "terminated")


def test_a_machine_sees_itself_only(cloud: MachineCloud) -> None:
    """With namespaces: own process numbers, own hostname, none of the host's folders, read-only programs."""
    if cloud.fleet.isolation == "none":
        pytest.skip("plain processes share the host")
    instance_id = cloud.booted()
    said = cloud.run(
        instance_id,
        "ps ax -o pid= | wc -l",
        "hostname",
        "cat /etc/hostname",
        "ls /home /root /opt | wc -c",
        "touch /usr/x 2>&1",
        f"ls {cloud.folder} 2>&1",
    )["StandardOutputContent"].splitlines()
    assert int(said[0]) <= 5
    assert said[1].startswith("ip-")
    assert said[1] == said[2]
    assert "Read-only" in said[4]
    assert "No such file" in said[5]


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="needs bubblewrap")
def test_a_sandbox_works_inside_a_machine(cloud: MachineCloud) -> None:
    """The agent's own sandbox needs a fresh /proc and namespaces below the machine's."""
    if cloud.fleet.isolation == "none":
        pytest.skip("the sandbox is then the host's")
    instance_id = cloud.booted()
    folders = "--ro-bind /usr /usr --ro-bind /etc /etc --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64"
    box = f"bwrap --unshare-all --die-with-parent {folders} --proc /proc --dev /dev --tmpfs /tmp"
    done = cloud.run(instance_id, f"{box} sh -c 'ls /proc | grep -c ^[0-9]'")
    assert done["Status"] == "Success", done
    assert int(done["StandardOutputContent"]) <= 4


def test_a_machine_can_divide_its_own_control_groups(cloud: MachineCloud) -> None:
    """The agent limits each attempt by a group of its own below the machine's."""
    if cloud.fleet.isolation == "none":
        pytest.skip("the agent then finds the host's groups")
    instance_id = cloud.booted()
    if "memory" not in cloud.said(instance_id, "ls /sys/fs/cgroup"):
        pytest.skip("this host lets us make no memory group")
    done = cloud.run(
        instance_id,
        "mkdir /sys/fs/cgroup/memory/job && echo 64M >/sys/fs/cgroup/memory/job/memory.limit_in_bytes",
        "sh -c 'echo 0 >/sys/fs/cgroup/memory/job/cgroup.procs; cat /proc/self/cgroup' | grep memory",
    )
    assert done["StandardOutputContent"].strip().endswith(":/job"), done
