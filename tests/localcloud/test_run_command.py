"""Run Command reaches machines: what it refuses, what it runs, what it tells."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from machine_cloud import IMAGE, MachineCloud, eventually, machine_cloud


@pytest.fixture(scope="module", params=["namespaces", "none"])
def cloud(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MachineCloud]:
    with machine_cloud(tmp_path_factory.mktemp("command"), isolation=request.param, lost_noticed_s=30.0) as started:
        yield started


@pytest.fixture(scope="module")
def instance_id(cloud: MachineCloud) -> str:
    return cloud.booted("#!/bin/sh\necho from user data >${SPILLWAY_ROOT:-}/opt/mark\n")


def send(cloud: MachineCloud, ids: list[str], commands: list[str], **more: Any) -> str:
    parameters = {"commands": commands, **more.pop("Parameters", {})}
    sent = cloud.ssm.send_command(DocumentName="AWS-RunShellScript", InstanceIds=ids, Parameters=parameters, **more)
    return str(sent["Command"]["CommandId"])


def refused(cloud: MachineCloud, ids: list[str], **arguments: Any) -> str:
    given = {"DocumentName": "AWS-RunShellScript", "Parameters": {"commands": ["true"]}, **arguments}
    with pytest.raises(ClientError) as error:
        cloud.ssm.send_command(InstanceIds=ids, **given)
    return str(error.value.response["Error"]["Code"])


def test_commands_run_as_root_inside_the_machine(cloud: MachineCloud, instance_id: str) -> None:
    """The same root, the same environment as the user data's."""
    said = cloud.said(
        instance_id, "id -u", "cat ${SPILLWAY_ROOT:-}/opt/mark", "echo $AWS_EC2_METADATA_SERVICE_ENDPOINT"
    )
    port = cloud.fleet.machine(instance_id).metadata_port
    assert said == f"0\nfrom user data\nhttp://127.0.0.1:{port}\n"


def test_exit_code_and_both_outputs_are_told(cloud: MachineCloud, instance_id: str) -> None:
    """A failed command is Failed, with its code."""
    done = cloud.run(instance_id, "echo out; echo err >&2; exit 3")
    assert (done["Status"], done["ResponseCode"]) == ("Failed", 3)
    assert (done["StandardOutputContent"], done["StandardErrorContent"]) == ("out\n", "err\n")


def test_long_output_is_cut_and_does_not_block(cloud: MachineCloud, instance_id: str) -> None:
    """24,000 characters are kept for one invocation, 2,500 in the list."""
    command_id = send(cloud, [instance_id], ["head -c 3000000 /dev/zero | tr '\\0' x"])
    done = cloud.invocation(command_id, instance_id)
    assert done["Status"] == "Success"
    assert len(done["StandardOutputContent"]) == 24_000
    listed = cloud.ssm.list_command_invocations(CommandId=command_id, Details=True)["CommandInvocations"]
    assert len(listed[0]["CommandPlugins"][0]["Output"]) == 2_500


def test_a_command_that_leaves_a_process_behind_still_ends(cloud: MachineCloud, instance_id: str) -> None:
    """Starting something in the background is what commands are for."""
    started = time.monotonic()
    assert cloud.run(instance_id, "sleep 1000 & echo started")["StandardOutputContent"] == "started\n"
    assert time.monotonic() - started < 5


def test_a_command_that_takes_too_long_is_killed(cloud: MachineCloud, instance_id: str) -> None:
    """executionTimeout, in seconds."""
    done = cloud.run(instance_id, "sleep 1000", executionTimeout=["1"])
    assert (done["Status"], done["StatusDetails"]) == ("TimedOut", "Execution Timed Out")


def test_one_unregistered_id_refuses_the_whole_call(cloud: MachineCloud, instance_id: str) -> None:
    """Unknown, terminated, or not yet registered: nothing runs anywhere."""
    mark = "${SPILLWAY_ROOT:-}/opt/refused"
    arguments = {"Parameters": {"commands": [f"touch {mark}"]}}
    assert refused(cloud, [instance_id, "i-0123456789abcdef0"], **arguments) == "InvalidInstanceId"
    gone = cloud.booted()
    cloud.ec2.terminate_instances(InstanceIds=[gone])
    assert refused(cloud, [instance_id, gone], **arguments) == "InvalidInstanceId"
    (pending,) = cloud.launch()
    assert refused(cloud, [pending, instance_id], **arguments) == "InvalidInstanceId"
    assert cloud.run(instance_id, f"test ! -e {mark}")["Status"] == "Success"


def test_what_is_wrong_with_a_call_is_said(cloud: MachineCloud, instance_id: str) -> None:
    """More than 50, the same one twice, another document, no commands."""
    assert refused(cloud, [f"i-{number:017x}" for number in range(51)]) == "ValidationException"
    assert refused(cloud, [instance_id, instance_id]) == "DuplicateInstanceId"
    assert refused(cloud, [instance_id], DocumentName="AWS-RunPowerShellScript") == "InvalidDocument"
    assert refused(cloud, [instance_id], Parameters={}) == "InvalidParameters"


def test_many_machines_are_told_by_one_command(cloud: MachineCloud) -> None:
    """One invocation each; the command's status is that of them all."""
    ids = cloud.launch(count=3)
    cloud.ran(*ids)
    command_id = send(cloud, ids, ["echo $AWS_EC2_METADATA_SERVICE_ENDPOINT"])
    outputs = {cloud.invocation(command_id, each)["StandardOutputContent"] for each in ids}
    assert len(outputs) == 3
    command = cloud.ssm.list_commands(CommandId=command_id)["Commands"][0]
    assert (command["Status"], command["CompletedCount"], command["ErrorCount"]) == ("Success", 3, 0)
    pages = [
        page["CommandInvocations"]
        for page in cloud.ssm.get_paginator("list_command_invocations").paginate(
            CommandId=command_id, PaginationConfig={"PageSize": 2}
        )
    ]
    assert [len(page) for page in pages] == [2, 1]


def test_registered_machines_are_listed_with_their_role(cloud: MachineCloud, instance_id: str) -> None:
    """DescribeInstanceInformation is how one sees who can be told anything."""
    key = [{"Key": "InstanceIds", "Values": [instance_id]}]
    (found,) = cloud.ssm.describe_instance_information(Filters=key)["InstanceInformationList"]
    assert (found["InstanceId"], found["PingStatus"], found["PlatformType"]) == (instance_id, "Online", "Linux")


def test_a_lost_machine_is_told_nothing_and_nobody_says_so(cloud: MachineCloud) -> None:
    """It is still registered, so the call is taken; the command waits until its time is up. Only the agent's answer proves delivery."""
    instance_id = cloud.booted()
    cloud.fleet.lose(instance_id)
    assert cloud.fleet.wait(lambda: cloud.fleet.machine(instance_id).channel is None)
    command_id = send(cloud, [instance_id], ["true"], TimeoutSeconds=30)
    found = cloud.ssm.get_command_invocation(CommandId=command_id, InstanceId=instance_id)
    assert found["Status"] == "Pending"


def test_a_command_sent_during_a_reboot_arrives_after_it(cloud: MachineCloud) -> None:
    """Or fails, when it began before: it is never lost without a word."""
    instance_id = cloud.booted()
    cloud.fleet.reboot(instance_id)
    assert cloud.fleet.wait(lambda: cloud.fleet.machine(instance_id).restarting)
    command_id = send(cloud, [instance_id], ["echo after"])
    assert cloud.invocation(command_id, instance_id)["StandardOutputContent"] == "after\n"


def test_registration_comes_some_time_after_the_boot(tmp_path: Any) -> None:
    """A doorbell rung too early is refused, so the control plane has to ring again."""
    with machine_cloud(tmp_path, isolation="none", register_s=0.4) as slow:
        (instance_id,) = slow.launch()
        slow.until(instance_id, "running")
        assert refused(slow, [instance_id]) == "InvalidInstanceId"
        slow.ran(instance_id)
        assert eventually(lambda: slow.said(instance_id, "echo here")) == "here\n"


def test_a_machine_whose_role_may_not_register_is_never_reached(cloud: MachineCloud) -> None:
    """The SSM agent registers with the machine's role: without the right, or without a role, doorbells are refused."""
    made = cloud.ec2.run_instances(ImageId=IMAGE, InstanceType="c5.large", MinCount=1, MaxCount=1)
    instance_id = made["Instances"][0]["InstanceId"]
    cloud.until(instance_id, "running")
    reachable = cloud.booted()
    assert refused(cloud, [instance_id]) == "InvalidInstanceId"
    assert refused(cloud, [instance_id, reachable]) == "InvalidInstanceId"
