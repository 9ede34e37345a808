"""The metadata service: version 2 only, each machine its own."""

import http.client
import json
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from machine_cloud import IMAGE, MachineCloud, eventually, machine_cloud

from localcloud.instances.peers import JOB_UIDS

SMALL: dict[str, Any] = {"ImageId": IMAGE, "InstanceType": "c5.large", "MinCount": 1, "MaxCount": 1}
TTL = "X-aws-ec2-metadata-token-ttl-seconds"
TOKEN = "X-aws-ec2-metadata-token"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MachineCloud]:
    with machine_cloud(tmp_path_factory.mktemp("metadata"), isolation="none", credentials_s=3600.0) as started:
        iam = started.iam
        iam.create_role(RoleName="grader", AssumeRolePolicyDocument="{}")
        iam.create_instance_profile(InstanceProfileName="grader-profile")
        iam.add_role_to_instance_profile(InstanceProfileName="grader-profile", RoleName="grader")
        yield started


class Metadata:
    """A client of one machine's metadata."""

    def __init__(self, cloud: MachineCloud, instance_id: str) -> None:
        self.port = cloud.fleet.machine(instance_id).metadata_port
        self.token = self.ask("PUT", "/latest/api/token", {TTL: "60"})[1]

    def ask(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def get(self, path: str) -> tuple[int, str]:
        return self.ask("GET", "/latest/" + path, {TOKEN: self.token})


@pytest.fixture(scope="module")
def ids(cloud: MachineCloud) -> list[str]:
    return cloud.launch(
        "#!/bin/sh\necho mine\n",
        count=2,
        IamInstanceProfile={"Name": "grader-profile"},
        MetadataOptions={"HttpTokens": "required", "InstanceMetadataTags": "enabled"},
        InstanceMarketOptions={"MarketType": "spot"},
        TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "spillway:pool", "Value": "default"}]}],
        Placement={"AvailabilityZone": "us-east-1b"},
    )


def test_a_token_has_a_life_and_is_asked_for_by_put(cloud: MachineCloud, ids: list[str]) -> None:
    """No header, a bad one, or one over six hours: 400."""
    metadata = Metadata(cloud, ids[0])
    for headers in ({}, {TTL: "0"}, {TTL: "21601"}, {TTL: "soon"}):
        assert metadata.ask("PUT", "/latest/api/token", headers)[0] == 400
    assert metadata.ask("GET", "/latest/api/token", {TOKEN: metadata.token})[0] == 404
    assert metadata.ask("POST", "/latest/api/token", {TTL: "60"})[0] == 405


def test_without_a_good_token_there_is_nothing(cloud: MachineCloud, ids: list[str]) -> None:
    """Version 1 is off; a token of another machine is no token."""
    metadata, other = Metadata(cloud, ids[0]), Metadata(cloud, ids[1])
    for headers in ({}, {TOKEN: "guessed"}, {TOKEN: other.token}):
        assert metadata.ask("GET", "/latest/meta-data/instance-id", headers)[0] == 401


def test_a_forwarded_request_is_refused(cloud: MachineCloud, ids: list[str]) -> None:
    """A proxy that forwards blindly must not hand out credentials."""
    headers = {TTL: "60", "X-Forwarded-For": "10.0.0.1"}
    assert Metadata(cloud, ids[0]).ask("PUT", "/latest/api/token", headers)[0] == 403


def test_each_machine_reads_its_own(cloud: MachineCloud, ids: list[str]) -> None:
    """Same request, same user data; the launch index tells the machines apart."""
    for index, instance_id in enumerate(ids):
        metadata = Metadata(cloud, instance_id)
        described = cloud.described(instance_id)
        assert metadata.get("meta-data/instance-id") == (200, instance_id)
        assert metadata.get("meta-data/ami-launch-index") == (200, str(index))
        assert described["AmiLaunchIndex"] == index
        assert metadata.get("meta-data/local-ipv4") == (200, described["PrivateIpAddress"])
        assert metadata.get("meta-data/hostname")[1] == described["PrivateDnsName"]
        assert metadata.get("meta-data/instance-type")[1] == "c5.large"
        assert metadata.get("meta-data/placement/region")[1] == "us-east-1"
        assert metadata.get("meta-data/placement/availability-zone")[1] == "us-east-1b"
        assert metadata.get("meta-data/instance-life-cycle")[1] == "spot"
        assert metadata.get("user-data")[1] == "#!/bin/sh\necho mine\n"
        identity = json.loads(metadata.get("dynamic/instance-identity/document")[1])
        assert (identity["instanceId"], identity["region"]) == (instance_id, "us-east-1")


def test_folders_are_listed_and_what_is_not_there_is_404(cloud: MachineCloud, ids: list[str]) -> None:
    """Folders end in a slash; what has not happened is absent."""
    metadata = Metadata(cloud, ids[0])
    status, listing = metadata.get("meta-data/")
    assert status == 200
    assert {"instance-id", "iam/", "placement/", "tags/"} <= set(listing.split("\n"))
    assert metadata.get("meta-data/placement/")[1].split("\n") == ["availability-zone", "region"]
    for path in ("meta-data/spot/instance-action", "meta-data/events/recommendations/rebalance", "meta-data/nothing"):
        assert metadata.get(path)[0] == 404


def test_credentials_are_the_roles_with_the_machines_name(cloud: MachineCloud, ids: list[str]) -> None:
    """The principal is <role id>:<instance id>: SQS's SenderId and S3's ${aws:userid}. Repeated reads get the same key."""
    metadata = Metadata(cloud, ids[0])
    assert metadata.get("meta-data/iam/security-credentials/") == (200, "grader")
    first = json.loads(metadata.get("meta-data/iam/security-credentials/grader")[1])
    again = json.loads(metadata.get("meta-data/iam/security-credentials/grader")[1])
    assert first == again
    principal = cloud.identities.principal(first["AccessKeyId"])
    assert principal is not None
    assert principal.userid.endswith(f":{ids[0]}")
    assert principal.role == "grader"
    assert first["Code"] == "Success"
    assert json.loads(metadata.get("meta-data/iam/info")[1])["InstanceProfileArn"].endswith("/grader-profile")
    assert metadata.get("meta-data/iam/security-credentials/other")[0] == 404


def test_credentials_are_renewed_well_before_they_end(cloud: MachineCloud, ids: list[str]) -> None:
    """Nobody is handed a key that is about to end."""
    machine = cloud.fleet.machine(ids[1])
    path = "meta-data/iam/security-credentials/grader"
    first = json.loads(Metadata(cloud, ids[1]).get(path)[1])
    machine.credentials["grader"] = cloud.identities.issue("grader", ids[1], lifetime_s=600)
    renewed = json.loads(Metadata(cloud, ids[1]).get(path)[1])
    assert renewed["AccessKeyId"] not in (first["AccessKeyId"], machine.id)
    assert renewed["Expiration"] >= first["Expiration"]


def test_tags_are_there_when_the_launch_asked_for_them(cloud: MachineCloud, ids: list[str]) -> None:
    """InstanceMetadataTags: our tags have colons in their names."""
    metadata = Metadata(cloud, ids[0])
    assert metadata.get("meta-data/tags/instance/") == (200, "spillway:pool")
    assert metadata.get("meta-data/tags/instance/spillway:pool") == (200, "default")
    (plain,) = [each["InstanceId"] for each in cloud.ec2.run_instances(**SMALL)["Instances"]]
    assert Metadata(cloud, plain).get("meta-data/tags/instance")[0] == 404
    assert Metadata(cloud, plain).get("meta-data/iam/info")[0] == 404


def test_an_interruption_shows_when_it_will_be(cloud: MachineCloud, ids: list[str]) -> None:
    """The machine polls it; the event goes to the account."""
    cloud.fleet.interrupt(ids[1], in_s=100)
    cloud.fleet.recommend_rebalance(ids[1])
    metadata = Metadata(cloud, ids[1])
    action: dict[str, Any] = json.loads(metadata.get("meta-data/spot/instance-action")[1])
    assert action["action"] == "terminate"
    assert action["time"].endswith("Z")
    assert "noticeTime" in json.loads(metadata.get("meta-data/events/recommendations/rebalance")[1])


def test_the_port_closes_with_the_machine(cloud: MachineCloud) -> None:
    """What is gone does not answer."""
    instance_id = cloud.booted()
    metadata = Metadata(cloud, instance_id)
    cloud.ec2.terminate_instances(InstanceIds=[instance_id])
    cloud.until(instance_id, "terminated")

    def closed() -> bool:
        try:
            metadata.get("meta-data/")
        except OSError:
            return True
        return False

    eventually(closed)


def test_broken_requests_do_not_harm_the_next(cloud: MachineCloud, ids: list[str]) -> None:
    """Whatever a job sends to the port, the agent's next request is answered."""
    import socket

    metadata = Metadata(cloud, ids[0])
    for junk in (
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"\xff\xfe\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"A" * 70_000,
    ):
        with socket.create_connection(("127.0.0.1", metadata.port), 5) as connection:
            connection.sendall(junk)
    assert metadata.get("meta-data/instance-id") == (200, ids[0])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
@pytest.mark.parametrize("address", ["127.0.0.1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize(("uid", "answered"), [(JOB_UIDS[1], False), (JOB_UIDS[-1], False), (JOB_UIDS[0] - 1, True)])
def test_a_user_that_jobs_run_as_gets_no_answer(
    cloud: MachineCloud, ids: list[str], address: str, uid: int, answered: bool
) -> None:
    """As the routing rules of a host on EC2 refuse it; however the address is written. Everybody else gets one."""
    port = cloud.fleet.machine(ids[0]).metadata_port
    asks = f"""import socket
with socket.create_connection(({address!r}, {port}), 5) as s:
    s.sendall(b'PUT /latest/api/token HTTP/1.1\\r\\n{TTL}: 60\\r\\n\\r\\n')
    print(s.recv(15))"""
    done = subprocess.run(["/usr/bin/python3", "-c", asks], user=uid, capture_output=True, text=True, check=False)
    assert ("HTTP/1.1 200 OK" in done.stdout) == answered, done
    assert answered or done.stdout == "b''\n" or "ConnectionResetError" in done.stderr, done
