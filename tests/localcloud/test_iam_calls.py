"""Least privilege over the wire: what a role's policies say is what its sessions can do, service by service."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from front_cloud import FrontCloud, front_cloud

BUCKET = "arn:aws:s3:::spillway-bucket"
TABLE = "arn:aws:dynamodb:us-east-1:123456789012:table"
KEY = {"AttributeName": "host", "KeyType": "HASH"}
HARMLESS = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"}]}
)
HOST_STATEMENTS: list[dict[str, Any]] = [  # the host role, as infra has it
    {"Action": "sqs:SendMessage", "Resource": "arn:aws:sqs:us-east-1:123456789012:heartbeats"},
    {"Action": "s3:GetObject", "Resource": [f"{BUCKET}/agent/*", f"{BUCKET}/inbox/${{aws:userid}}/*"]},
    {"Action": "s3:PutObject", "Resource": f"{BUCKET}/hosts/${{aws:userid}}/*"},
    {
        "Action": "dynamodb:PutItem",
        "Resource": f"{TABLE}/claims",
        "Condition": {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["${aws:userid}"]}},
    },
]


class World:
    """A front with tables, queues, a bucket, a launch template, and a host."""

    def __init__(self, cloud: FrontCloud) -> None:
        self.cloud = cloud
        developer = cloud.front.client
        for name in ("heartbeats", "wakes"):
            developer("sqs").create_queue(QueueName=name)
        developer("s3").create_bucket(Bucket="spillway-bucket")
        attributes = [{"AttributeName": "host", "AttributeType": "S"}]
        for table in ("claims", "jobs"):
            developer("dynamodb").create_table(
                TableName=table, KeySchema=[KEY], AttributeDefinitions=attributes, BillingMode="PAY_PER_REQUEST"
            )
        cloud.role("host", *HOST_STATEMENTS)
        issued = cloud.identities.issue("host", "i-0abc")
        principal = cloud.identities.principal(issued.access_key)
        assert principal is not None
        self.userid = principal.userid
        self._issued = issued
        self._clients: dict[str, Any] = {}
        self._numbers = itertools.count(1)

    def host(self, service: str) -> Any:
        """A client of the host."""
        if service not in self._clients:
            self._clients[service] = self.cloud.client_as(service, self._issued)
        return self._clients[service]

    def someone(self, *statements: dict[str, Any]) -> Callable[[str], Any]:
        """A new role with these statements; makes its clients."""
        name = f"role-{next(self._numbers)}"
        self.cloud.role(name, *statements)
        issued = self.cloud.identities.issue(name, "function")
        return lambda service: self.cloud.client_as(service, issued)

    def url(self, queue: str) -> str:
        return f"{self.cloud.front.url}/123456789012/{queue}"


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with front_cloud() as cloud:
        yield World(cloud)


def refused(call: Callable[[], Any]) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call()
    error = caught.value.response["Error"]
    return error["Code"], error.get("Message", "")


def test_a_host_pings_and_its_userid_is_the_sender(world: World) -> None:
    """The sender is proven by SQS itself; the developer's messages carry the account's id."""
    world.host("sqs").send_message(QueueUrl=world.url("heartbeats"), MessageBody="ping")
    world.cloud.front.client("sqs").send_message(QueueUrl=world.url("heartbeats"), MessageBody="by hand")
    got = world.cloud.front.client("sqs").receive_message(
        QueueUrl=world.url("heartbeats"), MaxNumberOfMessages=10, AttributeNames=["SenderId"]
    )
    senders = {m["Body"]: m["Attributes"]["SenderId"] for m in got["Messages"]}
    assert senders == {"ping": world.userid, "by hand": "123456789012"}
    assert world.userid.endswith(":i-0abc")


def test_a_host_may_not_send_elsewhere_nor_receive(world: World) -> None:
    code, message = refused(lambda: world.host("sqs").send_message(QueueUrl=world.url("wakes"), MessageBody="x"))
    assert code == "AccessDenied"
    assert message == (
        "User: arn:aws:sts::123456789012:assumed-role/host/i-0abc is not authorized to perform: sqs:SendMessage on "
        "resource: arn:aws:sqs:us-east-1:123456789012:wakes because no identity-based policy allows the "
        "sqs:SendMessage action"
    )
    assert refused(lambda: world.host("sqs").receive_message(QueueUrl=world.url("heartbeats")))[0] == "AccessDenied"


def test_a_host_reads_its_own_inbox_only(world: World) -> None:
    """Another host's inbox is refused, and so is a missing object of its own, as for all who may not list."""
    developer = world.cloud.front.client("s3")
    developer.put_object(Bucket="spillway-bucket", Key=f"inbox/{world.userid}/inbox.json", Body=b"{}")
    developer.put_object(Bucket="spillway-bucket", Key="inbox/AROAOTHER:i-0def/inbox.json", Body=b"{}")
    s3 = world.host("s3")
    assert s3.get_object(Bucket="spillway-bucket", Key=f"inbox/{world.userid}/inbox.json")["Body"].read() == b"{}"
    for key in ("inbox/AROAOTHER:i-0def/inbox.json", f"inbox/{world.userid}/absent.json"):
        code, _ = refused(lambda key=key: s3.get_object(Bucket="spillway-bucket", Key=key))
        assert code == "AccessDenied"
    with pytest.raises(ClientError) as caught:
        s3.head_object(Bucket="spillway-bucket", Key=f"inbox/{world.userid}/absent.json")
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_a_missing_object_is_404_for_those_who_may_list(world: World) -> None:
    reader = world.someone({"Action": ["s3:GetObject", "s3:ListBucket"], "Resource": [BUCKET, f"{BUCKET}/*"]})
    assert refused(lambda: reader("s3").get_object(Bucket="spillway-bucket", Key="absent"))[0] == "NoSuchKey"


def test_a_host_writes_below_its_own_prefix_only(world: World) -> None:
    s3 = world.host("s3")
    s3.put_object(Bucket="spillway-bucket", Key=f"hosts/{world.userid}/job/1/log/000", Body=b"x")
    for key in ("hosts/other/job/1/log/000", f"inbox/{world.userid}/inbox.json", "agent/a.pyz"):
        code, _ = refused(lambda key=key: s3.put_object(Bucket="spillway-bucket", Key=key, Body=b"x"))
        assert code == "AccessDenied"
    assert refused(lambda: s3.list_objects_v2(Bucket="spillway-bucket"))[0] == "AccessDenied"


def test_a_host_claims_for_itself_only(world: World) -> None:
    """`dynamodb:LeadingKeys`, also hidden in a batch or a transaction."""
    claims = world.host("dynamodb")
    mine, theirs = {"host": {"S": world.userid}}, {"host": {"S": "AROAOTHER:i-0def"}}
    claims.put_item(TableName="claims", Item=mine)
    calls: list[Callable[[], Any]] = [
        lambda: claims.put_item(TableName="claims", Item=theirs),
        lambda: claims.put_item(TableName="jobs", Item=mine),
        lambda: claims.get_item(TableName="claims", Key=mine),
        lambda: claims.batch_write_item(RequestItems={"claims": [{"PutRequest": {"Item": mine}}]}),
        lambda: claims.transact_write_items(TransactItems=[{"Put": {"TableName": "claims", "Item": theirs}}]),
        lambda: claims.scan(TableName="claims"),
    ]
    for call in calls:
        assert refused(call)[0] == "AccessDeniedException"
    claims.transact_write_items(TransactItems=[{"Put": {"TableName": "claims", "Item": mine}}])


def test_a_batch_is_refused_when_one_item_is_another_hosts(world: World) -> None:
    writer = world.someone(
        {
            "Action": "dynamodb:BatchWriteItem",
            "Resource": f"{TABLE}/claims",
            "Condition": {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["me"]}},
        }
    )("dynamodb")
    puts = [{"PutRequest": {"Item": {"host": {"S": who}}}} for who in ("me", "you")]
    writer.batch_write_item(RequestItems={"claims": puts[:1]})
    assert refused(lambda: writer.batch_write_item(RequestItems={"claims": puts}))[0] == "AccessDeniedException"


def test_a_query_is_bound_by_its_hash_key(world: World) -> None:
    reader = world.someone(
        {
            "Action": "dynamodb:Query",
            "Resource": f"{TABLE}/claims",
            "Condition": {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["me"]}},
        }
    )("dynamodb")

    def query(who: str) -> Any:
        return reader.query(
            TableName="claims",
            KeyConditionExpression="#h = :h",
            ExpressionAttributeNames={"#h": "host"},
            ExpressionAttributeValues={":h": {"S": who}},
        )

    query("me")
    assert refused(lambda: query("you"))[0] == "AccessDeniedException"


def run_instances_statements(account: str = "arn:aws:ec2:*:123456789012") -> list[dict[str, Any]]:
    tagged = {"StringEquals": {"aws:RequestTag/spillway:stage": "dev"}}
    made = [f"{account}:instance/*", f"{account}:volume/*"]
    used = ["network-interface/*", "subnet/*", "security-group/*", "launch-template/*"]
    return [
        {"Action": "ec2:RunInstances", "Resource": made, "Condition": tagged},
        {"Action": "ec2:RunInstances", "Resource": ["arn:aws:ec2:*::image/*", *(f"{account}:{u}" for u in used)]},
        {
            "Action": "ec2:CreateTags",
            "Resource": made,
            "Condition": {"StringEquals": {"ec2:CreateAction": "RunInstances"}},
        },
        {"Action": "iam:PassRole", "Resource": "arn:aws:iam::123456789012:role/host"},
        {
            "Action": "ec2:TerminateInstances",
            "Resource": f"{account}:instance/*",
            "Condition": {"StringEquals": {"aws:ResourceTag/spillway:stage": "dev"}},
        },
    ]


def specifications(stage: str) -> list[dict[str, Any]]:
    tags = [{"Key": "spillway:stage", "Value": stage}]
    return [{"ResourceType": kind, "Tags": tags} for kind in ("instance", "volume")]


@pytest.fixture(scope="module")
def template(world: World) -> str:
    """A launch template with the host's instance profile."""
    iam = world.cloud.front.client("iam")
    iam.create_instance_profile(InstanceProfileName="host-profile")
    iam.add_role_to_instance_profile(InstanceProfileName="host-profile", RoleName="host")
    arn = iam.get_instance_profile(InstanceProfileName="host-profile")["InstanceProfile"]["Arn"]
    data = {"ImageId": "ami-12c6146b", "InstanceType": "c7i.large", "IamInstanceProfile": {"Arn": arn}}
    world.cloud.front.client("ec2").create_launch_template(LaunchTemplateName="host", LaunchTemplateData=data)
    return "host"


def test_launching_needs_the_right_tags_and_every_kind_of_resource(world: World, template: str) -> None:
    launcher = world.someone(*run_instances_statements())("ec2")

    def launch(stage: str | None) -> Any:
        given = {} if stage is None else {"TagSpecifications": specifications(stage)}
        return launcher.run_instances(MinCount=1, MaxCount=1, LaunchTemplate={"LaunchTemplateName": template}, **given)

    made = launch("dev")["Instances"][0]["InstanceId"]
    for stage in ("prod", None):
        code, message = refused(lambda stage=stage: launch(stage))
        assert code == "UnauthorizedOperation"
        assert message.startswith("You are not authorized to perform this operation. User: arn:aws:sts::")
    launcher.terminate_instances(InstanceIds=[made])


@pytest.mark.parametrize("missing", range(4))
def test_launching_fails_without_any_one_of_its_statements(world: World, template: str, missing: int) -> None:
    """RunInstances on what it makes, on what it uses, CreateTags and PassRole are all needed."""
    statements = run_instances_statements()
    del statements[missing]
    launcher = world.someone(*statements)("ec2")
    code, _ = refused(
        lambda: launcher.run_instances(
            MinCount=1,
            MaxCount=1,
            LaunchTemplate={"LaunchTemplateName": template},
            TagSpecifications=specifications("dev"),
        )
    )
    assert code == "UnauthorizedOperation"


def test_terminating_is_bound_by_the_instances_tags(world: World, template: str) -> None:
    developer = world.cloud.front.client("ec2")
    other = developer.run_instances(
        MinCount=1, MaxCount=1, ImageId="ami-12c6146b", TagSpecifications=specifications("prod")[:1]
    )["Instances"][0]["InstanceId"]
    killer = world.someone(*run_instances_statements())("ec2")
    assert refused(lambda: killer.terminate_instances(InstanceIds=[other]))[0] == "UnauthorizedOperation"


def test_run_command_needs_the_document_and_every_instance(world: World) -> None:
    developer = world.cloud.front.client("ec2")
    ids = [
        developer.run_instances(
            MinCount=1, MaxCount=1, ImageId="ami-12c6146b", TagSpecifications=specifications(stage)[:1]
        )["Instances"][0]["InstanceId"]
        for stage in ("dev", "prod")
    ]
    ringer = world.someone(
        {"Action": "ssm:SendCommand", "Resource": "arn:aws:ssm:*::document/AWS-RunShellScript"},
        {
            "Action": "ssm:SendCommand",
            "Resource": "arn:aws:ec2:*:*:instance/*",
            "Condition": {"StringEquals": {"ssm:resourceTag/spillway:stage": "dev"}},
        },
    )("ssm")

    def ring(document: str, instances: list[str]) -> Any:
        return ringer.send_command(DocumentName=document, InstanceIds=instances, Parameters={"commands": ["true"]})

    ring("AWS-RunShellScript", ids[:1])
    assert refused(lambda: ring("AWS-RunShellScript", ids))[0] == "AccessDeniedException"
    assert refused(lambda: ring("AWS-RunPowerShellScript", ids[:1]))[0] == "AccessDeniedException"


def test_a_changed_policy_counts_at_once(world: World) -> None:
    someone = world.someone({"Action": "sns:CreateTopic", "Resource": "*"})
    role = max(world.cloud.front.client("iam").list_roles()["Roles"], key=lambda r: r["CreateDate"])["RoleName"]
    someone("sns").create_topic(Name="topic")
    world.cloud.front.client("iam").put_role_policy(RoleName=role, PolicyName="inline", PolicyDocument=HARMLESS)
    assert refused(lambda: someone("sns").create_topic(Name="topic"))[0] == "AccessDenied"


def test_an_attached_policy_counts_by_its_default_version(world: World) -> None:
    iam = world.cloud.front.client("iam")
    someone = world.someone({"Action": "s3:ListAllMyBuckets", "Resource": "*"})
    role = max(iam.list_roles()["Roles"], key=lambda r: r["CreateDate"])["RoleName"]
    allow = HARMLESS.replace("s3:ListAllMyBuckets", "sns:ListTopics")
    arn = iam.create_policy(PolicyName="attached", PolicyDocument=allow)["Policy"]["Arn"]
    iam.attach_role_policy(RoleName=role, PolicyArn=arn)
    someone("sns").list_topics()
    iam.create_policy_version(PolicyArn=arn, PolicyDocument=HARMLESS, SetAsDefault=True)
    assert refused(lambda: someone("sns").list_topics())[0] == "AccessDenied"


def test_sts_says_who_a_session_is_and_needs_no_permission(world: World) -> None:
    who = world.host("sts").get_caller_identity()
    assert (who["UserId"], who["Arn"]) == (world.userid, "arn:aws:sts::123456789012:assumed-role/host/i-0abc")


def test_a_role_that_the_developer_assumes_is_bound_by_its_policies(world: World) -> None:
    role = "arn:aws:iam::123456789012:role/host"
    issued = world.cloud.front.client("sts").assume_role(RoleArn=role, RoleSessionName="me")["Credentials"]
    session = world.cloud.identities.session(issued["AccessKeyId"])
    assert session is not None
    sqs = world.cloud.client_as("sqs", session[0])
    sqs.send_message(QueueUrl=world.url("heartbeats"), MessageBody="x")
    assert refused(lambda: sqs.send_message(QueueUrl=world.url("wakes"), MessageBody="x"))[0] == "AccessDenied"


def test_denials_and_uses_are_counted(world: World) -> None:
    """So a test can say that a role was refused nothing, and which of its permissions nobody used."""
    refused(lambda: world.host("sqs").purge_queue(QueueUrl=world.url("heartbeats")))
    report = world.cloud.authorizer.report()
    denied = [(d["role"], d["action"]) for d in report["denied"]]
    assert ("host", "sqs:PurgeQueue") in denied
    world.host("sqs").send_message(QueueUrl=world.url("heartbeats"), MessageBody="x")
    assert ("host", "sqs:SendMessage") in [(u["role"], u["action"]) for u in world.cloud.authorizer.report()["used"]]


def test_permissions_that_nobody_used_are_named(world: World) -> None:
    """A policy that is too wide shows itself after a whole run."""
    sns = world.someone({"Action": ["sns:List*", "sns:Publish"], "Resource": "*"})("sns")
    sns.list_topics()
    role = max(world.cloud.front.client("iam").list_roles()["Roles"], key=lambda r: r["CreateDate"])["RoleName"]
    assert [u["action"] for u in world.cloud.authorizer.report()["unused"] if u["role"] == role] == ["sns:Publish"]
