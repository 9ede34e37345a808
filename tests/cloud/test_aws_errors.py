"""What the cloud makes of AWS's errors: wrong here means paying twice, or giving up what could be had."""

from __future__ import annotations

import base64
import socket
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_aws import Answer, ec2_error, s3_error, scripted_aws, ssm_error
from worlds import REGION, a_launch, a_session

from chalicelib.cloud.aws import AwsCloud, aws_cloud
from chalicelib.cloud.doorbell import ring_in_halves
from chalicelib.cloud.refusals import LAUNCH_ERRORS, Meaning, launch_meaning
from chalicelib.config import Settings
from chalicelib.core.host import Offering
from chalicelib.errors import CapacityRefused, CloudUnavailable, LaunchImpossible, Throttled

NOT_NOW = [
    "InsufficientInstanceCapacity",
    "InsufficientHostCapacity",
    "InsufficientReservedInstanceCapacity",
    "InsufficientCapacity",
    "InsufficientCapacityOnOutpost",
    "InsufficientCapacityOnHost",
    "InsufficientFreeAddressesInSubnet",
    "InsufficientAddressCapacity",
    "InsufficientVolumeCapacity",
    "MaxSpotInstanceCountExceeded",
    "VcpuLimitExceeded",
    "InstanceLimitExceeded",
    "RequestResourceCountExceeded",
    "VolumeLimitExceeded",
    "MaxIOPSLimitExceeded",
    "NetworkInterfaceLimitExceeded",
    "UnfulfillableCapacity",
    "ReservationCapacityExceeded",
    "Unsupported",
    "SpotMaxPriceTooLow",
    "PendingVerification",
]
NEVER = [
    "InvalidLaunchTemplateName.NotFoundException",
    "InvalidLaunchTemplateName.MalformedException",
    "InvalidLaunchTemplateId.NotFound",
    "InvalidParameterValue",
    "InvalidParameterCombination",
    "InvalidAMIID.NotFound",
    "InvalidAMIID.Unavailable",
    "InvalidAMIID.Malformed",
    "UnauthorizedOperation",
    "IdempotentParameterMismatch",
    "InvalidUserData.Malformed",
    "InvalidSubnetID.NotFound",
    "InvalidGroup.NotFound",
    "MissingParameter",
    "UnknownParameter",
    "UnsupportedOperation",
    "AuthFailure",
    "AuthFailure.ServiceLinkedRoleCreationNotPermitted",
    "OptInRequired",
    "OperationNotPermitted",
    "VolumeTypeNotAvailableInZone",
    "EncryptedVolumesNotSupported",
    "InvalidClientTokenId",
    "SignatureDoesNotMatch",
    "Blocked",
    "VPCIdNotSpecified",
    "TagLimitExceeded",
    "SecurityGroupsPerInstanceLimitExceeded",
]
TOO_MANY = [
    "RequestLimitExceeded",
    "Throttling",
    "ThrottlingException",
    "RequestThrottled",
    "RequestThrottledException",
    "TooManyRequestsException",
]
UNKNOWN = [
    "InternalError",
    "InternalFailure",
    "ServiceUnavailable",
    "Unavailable",
    "RequestExpired",
    "ExpiredToken",
    "SomethingNewFrom2031",
]


def cloud_at(url: str) -> AwsCloud:
    return aws_cloud(Settings(stage="dev", bucket="b"), endpoint_url=url, session=a_session())


def raises(codes: Iterable[str], error: type[Exception]) -> list[tuple[str, type[Exception]]]:
    return [(code, error) for code in codes]


@pytest.mark.parametrize(
    ("code", "error"),
    raises(NOT_NOW, CapacityRefused)
    + raises(NEVER, LaunchImpossible)
    + raises(TOO_MANY, Throttled)
    + raises(UNKNOWN, CloudUnavailable),
)
def test_every_launch_error_has_its_meaning(code: str, error: type[Exception]):
    """No capacity → the next offering; a wrong request → people; too many → nothing for a while; anything else → again later."""
    status = 503 if issubclass(error, CloudUnavailable) else 500 if code.startswith("Insufficient") else 400
    with scripted_aws(lambda *_: ec2_error(code, "EC2's own sentence.", status)) as (url, requests):
        with pytest.raises(error) as caught:
            cloud_at(url).compute.launch(a_launch("x"))
        assert len(requests) == 1  # the pass retries, not the client
    assert type(caught.value) is error
    assert getattr(caught.value, "code", code) == code
    assert all(part in str(caught.value) for part in (code, "us-east-1/*/c7i.large/on_demand", "EC2's own sentence."))


def test_every_row_of_the_error_table_can_match():
    """A pattern behind a wider one is dead, and whoever wrote it believes otherwise."""
    for index, (pattern, meaning, sentence) in enumerate(LAUNCH_ERRORS):
        example = pattern.replace("*", "XYZ")
        assert launch_meaning(example) == (meaning, sentence), f"row {index}, {pattern}, is never reached"


@given(st.text(st.characters(codec="ascii", categories=("L",)), max_size=30))
def test_an_unknown_code_is_never_a_decision(code: str):
    """What AWS invents tomorrow costs a retry, nothing else."""
    known = ("insufficient", "invalid", "missing", "unknown", "malformed", "unsupported", "vpc", "max", "accessdenied")
    if not code.lower().startswith(known) and not code.lower().endswith("limitexceeded"):
        assert launch_meaning(code + "Q")[0] is Meaning.UNKNOWN


def test_a_refusal_does_not_show_what_only_machines_read():
    """EC2 appends kilobytes of encoded policy to a denial."""
    denial = "You are not authorized. Encoded authorization failure message: " + "aB3" * 500
    with (
        scripted_aws(lambda *_: ec2_error("UnauthorizedOperation", denial, 403)) as (url, _),
        pytest.raises(LaunchImpossible, match="may not launch this") as caught,
    ):
        cloud_at(url).compute.launch(a_launch("x"))
    assert "aB3aB3" not in str(caught.value)


@pytest.mark.parametrize("status", [200, 404, 500, 502])
def test_an_answer_that_is_not_aws_means_nothing_is_known(status: int):
    """A proxy's page, half an answer: the client library's own error for these is none of its usual ones."""
    with scripted_aws(lambda *_: (status, "<html><p>Bad Gateway")) as (url, _):
        cloud = cloud_at(url)
        for call in (
            lambda: cloud.compute.launch(a_launch("x")),
            lambda: cloud.compute.instances("default", [REGION]),
            lambda: cloud.compute.terminate(REGION, ["i-1"]),
        ):
            with pytest.raises(CloudUnavailable):
                call()


def test_nobody_there_means_nothing_is_known():
    """A connection refused is told as a sentence, for every service."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        cloud = cloud_at(f"http://127.0.0.1:{unused.getsockname()[1]}")
        for call in (
            lambda: cloud.compute.launch(a_launch("x")),
            lambda: cloud.compute.instances("default", [REGION]),
            lambda: cloud.compute.terminate(REGION, ["i-1"]),
            lambda: cloud.compute.ring(REGION, ["i-1"]),
            lambda: cloud.blobs.get("k"),
            lambda: cloud.queues.canary(1.0),
            lambda: cloud.notices.publish({"type": "x"}),
        ):
            with pytest.raises(CloudUnavailable, match="could not be reached"):
                call()


def test_the_launch_request_carries_all_that_a_host_needs():
    """Template, token, counts, user data, spot, its limit, zone and image, in the names that EC2 knows."""
    offering = Offering(
        region=REGION, instance_type="c7i.large", market="spot", zone="us-east-1b", max_price_usd_h=0.0345
    )
    launch = a_launch("x", hosts=3, offering=offering, image="ami-1", user_data=b"\x1f\x8b\x00bytes")
    with (
        scripted_aws(lambda *_: ec2_error("InsufficientInstanceCapacity", "none", 500)) as (url, requests),
        pytest.raises(CapacityRefused),
    ):
        cloud_at(url).compute.launch(launch)
    ((action, sent),) = requests
    assert action == "RunInstances"
    tags = {sent[f"TagSpecification.1.Tag.{i}.Key"]: sent[f"TagSpecification.1.Tag.{i}.Value"] for i in range(1, 6)}
    assert tags == {
        "spillway:stage": "dev",
        "spillway:pool": "default",
        "spillway:host": "launch-x",
        "spillway:launch": "launch-x",
        "Name": "spillway-dev/default",
    }
    assert [sent[f"TagSpecification.{i}.ResourceType"] for i in (1, 2)] == ["instance", "volume"]
    assert base64.b64decode(sent["UserData"]) == launch.user_data
    rest = {k: v for k, v in sent.items() if not k.startswith(("TagSpec", "UserData", "Action", "Version"))}
    assert rest == {
        "LaunchTemplate.LaunchTemplateName": "spillway-dev-host",
        "LaunchTemplate.Version": "$Default",
        "InstanceType": "c7i.large",
        "ImageId": "ami-1",
        "MinCount": "1",
        "MaxCount": "3",
        "ClientToken": "launch-x",
        "Placement.AvailabilityZone": "us-east-1b",
        "InstanceMarketOptions.MarketType": "spot",
        "InstanceMarketOptions.SpotOptions.SpotInstanceType": "one-time",
        "InstanceMarketOptions.SpotOptions.InstanceInterruptionBehavior": "terminate",
        "InstanceMarketOptions.SpotOptions.MaxPrice": "0.034500",
    }


def test_an_operators_own_template_says_neither_credentials_nor_shutdown():
    """Without them a host could not speak to us, or would go on costing money after it has shut itself down."""
    launch = a_launch("x", template="graders:7")
    with (
        scripted_aws(lambda *_: ec2_error("InsufficientInstanceCapacity", "none", 500)) as (url, requests),
        pytest.raises(CapacityRefused),
    ):
        cloud_at(url).compute.launch(launch)
    ((_, sent),) = requests
    said = {
        k: v for k, v in sent.items() if k.startswith(("LaunchTemplate", "IamInstance", "InstanceInit", "Metadata"))
    }
    assert said == {
        "LaunchTemplate.LaunchTemplateName": "graders",
        "LaunchTemplate.Version": "7",
        "IamInstanceProfile.Name": "spillway-dev-host",
        "InstanceInitiatedShutdownBehavior": "terminate",
        "MetadataOptions.HttpEndpoint": "enabled",
        "MetadataOptions.HttpTokens": "required",
        "MetadataOptions.HttpPutResponseHopLimit": "1",
    }


# ---- termination


def ids_of(parameters: dict[str, str]) -> list[str]:
    return [v for k, v in parameters.items() if k.startswith("InstanceId.")]


def forgetful_ec2(known: set[str], ended: set[str]):
    """TerminateInstances as EC2 does it: all or nothing, and the unknown ids are in the sentence."""

    def answer(action: str, parameters: dict[str, str]) -> Answer:
        ids = ids_of(parameters)
        unknown = [i for i in ids if i not in known]
        if unknown:
            words = (
                f"The instance ID '{unknown[0]}' does not exist"
                if len(unknown) == 1
                else f"The instance IDs '{', '.join(unknown)}' do not exist"
            )
            return ec2_error("InvalidInstanceID.NotFound", words)
        ended.update(ids)
        return 200, "<TerminateInstancesResponse><instancesSet/></TerminateInstancesResponse>"

    return answer


def test_forgotten_ids_are_dropped_and_the_rest_is_ended():
    """EC2 forgets a machine an hour after its end; that must not keep the others alive."""
    ended: set[str] = set()
    with scripted_aws(forgetful_ec2({"i-0a", "i-0c"}, ended)) as (url, requests):
        cloud_at(url).compute.terminate(REGION, ["i-0a", "i-0b", "i-0c", "i-0d", "i-0a"])
        assert len(requests) == 2
        cloud_at(url).compute.terminate(REGION, ["i-0d"])
    assert ended == {"i-0a", "i-0c"}


def test_terminations_go_by_the_thousand():
    """EC2's advice for one call."""
    ids = [f"i-{n:08x}" for n in range(2001)]
    ended: set[str] = set()
    with scripted_aws(forgetful_ec2(set(ids), ended)) as (url, requests):
        cloud_at(url).compute.terminate(REGION, ids)
        assert [len(ids_of(p)) for _, p in requests] == [1000, 1000, 1]
    assert ended == set(ids)


def test_a_not_found_that_names_nobody_of_ours_is_not_repeated_for_ever():
    """A sentence that we cannot read is unavailable, not a loop."""
    with (
        scripted_aws(lambda *_: ec2_error("InvalidInstanceID.NotFound", "some did not exist")) as (url, requests),
        pytest.raises(CloudUnavailable),
    ):
        cloud_at(url).compute.terminate(REGION, ["i-0a", "i-0b"])
    assert len(requests) == 1


# ---- the doorbell


def strict_ssm(registered: set[str], rung: list[str]):
    """SendCommand as SSM does it: one id that is not registered refuses the call, and it does not say which."""

    def answer(action: str, parameters: dict[str, list[str]]) -> Answer:
        ids = parameters["InstanceIds"]
        assert len(ids) <= 50
        if not set(ids) <= registered:
            return ssm_error("InvalidInstanceId")
        rung.extend(ids)
        return 200, '{"Command": {"CommandId": "c"}}'

    return answer


def test_hosts_that_run_command_does_not_know_are_found_and_the_others_rung():
    """A host that vanished must not silence 49 others."""
    ids = [f"i-{n:04x}" for n in range(120)]
    gone = {ids[3], ids[49], ids[77]}
    rung: list[str] = []
    with scripted_aws(strict_ssm(set(ids) - gone, rung)) as (url, requests):
        assert cloud_at(url).compute.ring(REGION, ids) == [ids[3], ids[49], ids[77]]
        action, first = requests[0]
    assert sorted(rung) == sorted(set(ids) - gone)
    assert action == "SendCommand"
    assert first | {"InstanceIds": []} == {
        "InstanceIds": [],
        "DocumentName": "AWS-RunShellScript",
        "Parameters": {
            "commands": ['python3 "${SPILLWAY_ROOT:-}/opt/spillway/agent.pyz" ring'],
            "executionTimeout": ["10"],
        },
        "TimeoutSeconds": 30,
        "MaxErrors": "100%",
    }


def test_a_throttled_doorbell_is_unavailable():
    """Splitting would only throttle us more."""
    with (
        scripted_aws(lambda *_: ssm_error("ThrottlingException", "Rate exceeded")) as (url, requests),
        pytest.raises(CloudUnavailable, match="Rate exceeded"),
    ):
        cloud_at(url).compute.ring(REGION, ["i-0a", "i-0b"])
    assert len(requests) <= 2


@settings(deadline=None)
@given(st.integers(0, 130), st.sets(st.integers(0, 130)))
def test_each_good_id_is_rung_once_and_each_bad_one_told(count: int, bad: set[int]):
    """Whatever is bad, whoever is good hears exactly one doorbell, in calls of at most 50."""
    ids = [f"i-{n:04x}" for n in range(count)]
    unknown = {f"i-{n:04x}" for n in bad}
    rung: list[str] = []
    calls = 0

    def send(batch: list[str]) -> bool:
        nonlocal calls
        calls += 1
        assert 0 < len(batch) <= 50
        if unknown & set(batch):
            return False
        rung.extend(batch)
        return True

    assert ring_in_halves(ids, send) == [i for i in ids if i in unknown]
    assert rung == [i for i in ids if i not in unknown]
    assert calls <= max(1, 2 * count)


# ---- blobs


@pytest.mark.parametrize(("listed", "there"), [("", False), ("<Contents><Key>k</Key><Size>1</Size></Contents>", True)])
def test_a_denied_object_is_absent_only_if_its_list_says_so(listed: str, there: bool):
    """S3 tells a role that may list only some prefixes 403 for what is not there."""

    def answer(action: str, parameters: dict[str, str]) -> Answer:
        if action == "GetObject":
            return s3_error("AccessDenied", 403)
        return 200, f"<ListBucketResult><IsTruncated>false</IsTruncated>{listed}</ListBucketResult>"

    with scripted_aws(answer) as (url, _):
        blobs = cloud_at(url).blobs
        assert blobs.exists("k") is there
        if there:
            with pytest.raises(CloudUnavailable, match="S3 was asked for k, and AWS answered AccessDenied"):
                blobs.get("k")
        else:
            assert blobs.get("k") is None


def test_a_denial_of_everything_is_told():
    """A missing permission must not look like a missing object."""
    with (
        scripted_aws(lambda *_: s3_error("AccessDenied", 403)) as (url, _),
        pytest.raises(CloudUnavailable, match="AccessDenied"),
    ):
        cloud_at(url).blobs.get("k")
