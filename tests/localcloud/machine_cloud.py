"""A cloud of machines for these tests: real moto behind the real front, real machines, events kept in a list."""

import base64
import contextlib
import gzip
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from localcloud.faults import Faults
from localcloud.front import Front
from localcloud.identity import Identities
from localcloud.instances.fleet import Fleet, FleetOptions

IMAGE = "ami-12c6146b"
REGISTER = {"Effect": "Allow", "Action": "ssm:UpdateInstanceInformation", "Resource": "*"}
REACHABLE = {"Version": "2012-10-17", "Statement": [REGISTER]}


def eventually(check: Callable[[], Any], within_s: float = 15.0) -> Any:
    """The first true value of `check`; fails when there is none in time. For what no event tells of."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if value := check():
            return value
        time.sleep(0.01)
    raise AssertionError(f"not within {within_s} s: {check}")


class MachineCloud:
    """What a test touches."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.events: list[dict[str, Any]] = []
        self._heard = threading.Condition()
        self.identities = Identities()
        self.front = Front(self.identities)
        self.folder = folder
        self.fleet = Fleet(
            self.front, self.identities, folder, self._publish, FleetOptions(**{"boot_s": 0.05, **options})
        )
        self.faults = Faults(self.front)
        self.faults.connect_fleet(self.fleet)
        self.ec2: Any = self.front.client("ec2")
        self.ssm: Any = self.front.client("ssm")
        self.iam: Any = self.front.client("iam")

    def _publish(self, event: dict[str, Any], region: str) -> None:
        with self._heard:
            self.events.append(event)
            self._heard.notify_all()

    def start(self) -> None:
        self.front.start()
        self.fleet.start()
        with contextlib.suppress(self.iam.exceptions.EntityAlreadyExistsException):  # moto's records outlive a cloud
            self.iam.create_role(RoleName="machine", AssumeRolePolicyDocument="{}")
            self.iam.put_role_policy(RoleName="machine", PolicyName="reachable", PolicyDocument=json.dumps(REACHABLE))
            self.iam.create_instance_profile(InstanceProfileName="machine")
            self.iam.add_role_to_instance_profile(InstanceProfileName="machine", RoleName="machine")

    def states(self, instance_id: str) -> list[str]:
        """The states that EventBridge was told of, in order."""
        told = [event["detail"] for event in self.events if event["detail-type"].endswith("State-change Notification")]
        return [detail["state"] for detail in told if detail["instance-id"] == instance_id]

    def heard(self, met: Callable[[], bool], within_s: float = 15.0) -> None:
        """Wait until the events satisfy `met`."""
        with self._heard:
            assert self._heard.wait_for(met, within_s), self.events

    def launch(self, script: str = "#!/bin/sh\n", count: int = 1, packed: bool = False, **more: Any) -> list[str]:
        """RunInstances; the ids in launch order."""
        data: Any = gzip.compress(script.encode()) if packed else script
        arguments = {"ImageId": IMAGE, "InstanceType": "c5.large", "MinCount": 1, "MaxCount": count, "UserData": data}
        if "LaunchTemplate" not in more:
            arguments["IamInstanceProfile"] = {"Name": "machine"}
        reply = self.ec2.run_instances(**{**arguments, **more})
        return [instance["InstanceId"] for instance in reply["Instances"]]

    def booted(self, script: str = "#!/bin/sh\n", **more: Any) -> str:
        """One machine whose user data has run; its id."""
        (instance_id,) = self.launch(script, **more)
        self.ran(instance_id)
        return instance_id

    def ran(self, *instance_ids: str) -> None:
        """Wait until the user data of all has ended, and they are registered."""
        machines = [self.fleet.machine(each) for each in instance_ids]
        met = lambda: all(m.user_data_exit is not None and m.registered_at for m in machines)  # noqa: E731
        assert self.fleet.wait(met, 20), [self.console(each) for each in instance_ids]

    def until(self, instance_id: str, state: str) -> None:
        """Wait until the fleet has the machine in `state`."""
        assert self.fleet.wait(lambda: self.fleet.machine(instance_id).state == state, 20), self.fleet.machine(
            instance_id
        )

    def described(self, instance_id: str) -> dict[str, Any]:
        """DescribeInstances' record."""
        found = self.ec2.describe_instances(InstanceIds=[instance_id])
        return dict(found["Reservations"][0]["Instances"][0])

    def console(self, instance_id: str) -> str:
        """GetConsoleOutput, as text."""
        output = self.ec2.get_console_output(InstanceId=instance_id)["Output"]
        with contextlib.suppress(ValueError):  # boto3 decodes it for us, or does not
            return base64.b64decode(output, validate=True).decode(errors="replace")
        return str(output)

    def run(self, instance_id: str, *commands: str, **parameters: Any) -> dict[str, Any]:
        """Run Command on one machine; the ended invocation."""
        sent = self.ssm.send_command(
            DocumentName="AWS-RunShellScript",
            InstanceIds=[instance_id],
            Parameters={"commands": list(commands), **parameters},
        )
        return self.invocation(sent["Command"]["CommandId"], instance_id)

    def invocation(self, command_id: str, instance_id: str, within_s: float = 15.0) -> dict[str, Any]:
        """An invocation, once it has ended."""

        def ended() -> dict[str, Any] | None:
            found = self.ssm.get_command_invocation(CommandId=command_id, InstanceId=instance_id)
            return dict(found) if found["Status"] not in ("Pending", "InProgress") else None

        return dict(eventually(ended, within_s))

    def said(self, instance_id: str, *commands: str) -> str:
        """What commands print."""
        return str(self.run(instance_id, *commands)["StandardOutputContent"])


@contextlib.contextmanager
def machine_cloud(folder: Path, **options: Any) -> Iterator[MachineCloud]:
    """A started cloud, stopped at the end."""
    cloud = MachineCloud(folder, **options)
    try:
        cloud.start()
        yield cloud
    finally:
        cloud.faults.stop()
        cloud.fleet.stop()
        cloud.front.stop()
