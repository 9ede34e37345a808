"""What the embedded cloud drops silently (encryption, lifecycle, TTL, recovery, policies, alarms) is held on the templates themselves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infra.stage import FUNCTIONS

ROOT = Path(__file__).parents[2]

TABLES = {
    "jobs": (
        ["id", "part"],
        {
            "by_pool": ["pool", "id"],
            "by_active": ["active_pool", "id"],
            "by_owner": ["owner", "id"],
            "by_active_owner": ["active_owner", "id"],
        },
    ),
    "backlog": (["queue", "rank"], {}),
    "hosts": (["pool", "id"], {"by_instance": ["instance_id"]}),
    "claims": (["host", "attempt"], {}),
    "registry": (["kind", "name"], {}),
}
FUNCTION_TIMEOUT_S = 30


def of_type(template: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    """Properties by logical id."""
    return {name: r["Properties"] for name, r in template["Resources"].items() if r["Type"] == kind}


def by_name(template: dict[str, Any], kind: str, key: str) -> dict[str, dict[str, Any]]:
    """Properties by the name that the resource gets, without `spillway-${Stage}-`."""
    return {p[key]["Fn::Sub"].removeprefix("spillway-${Stage}-"): p for p in of_type(template, kind).values()}


def hash_and_range(keys: list[dict[str, str]]) -> list[str]:
    return [k["AttributeName"] for k in sorted(keys, key=lambda k: k["KeyType"])]


def test_templates_pass_cfn_lint() -> None:
    """CloudFormation's own schema is the first judge."""
    linter = [str(Path(sys.executable).with_name("cfn-lint")), "infra/home/template.yaml", "infra/region/template.yaml"]
    done = subprocess.run(linter, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", TABLES)
def test_a_table_has_the_contracts_keys_costs_nothing_idle_and_forgets(home: dict[str, Any], name: str) -> None:
    """docs/contracts.md §2: keys, KEYS_ONLY indexes, on demand, TTL on expires_at."""
    keys, indexes = TABLES[name]
    table = by_name(home, "AWS::DynamoDB::Table", "TableName")[name]
    assert hash_and_range(table["KeySchema"]) == keys
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert table["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}
    found = {i["IndexName"]: i for i in table.get("GlobalSecondaryIndexes", [])}
    assert {n: hash_and_range(i["KeySchema"]) for n, i in found.items()} == indexes
    assert all(i["Projection"] == {"ProjectionType": "KEYS_ONLY"} for i in found.values())


def test_the_record_can_be_restored_and_outlives_its_stack(home: dict[str, Any]) -> None:
    """jobs and registry are what nothing else can rebuild."""
    for logical in ("JobsTable", "RegistryTable"):
        resource = home["Resources"][logical]
        assert resource["Properties"]["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
        assert resource["DeletionPolicy"] == "RetainExceptOnCreate"
    assert home["Resources"]["Bucket"]["DeletionPolicy"] == "RetainExceptOnCreate"


def test_every_queue_is_encrypted_and_every_working_queue_gives_up_into_its_dead_letters(home: dict[str, Any]) -> None:
    """Dead letters are kept 14 days; being throttled counts as a receive, so a standard queue allows five."""
    queues = by_name(home, "AWS::SQS::Queue", "QueueName")
    assert set(queues) == {
        *("submissions", "heartbeats", "timers", "wakes.fifo"),
        *("submissions-dead", "heartbeats-dead", "timers-dead", "wakes-dead.fifo"),
    }
    logical = {p["QueueName"]["Fn::Sub"]: name for name, p in of_type(home, "AWS::SQS::Queue").items()}
    for name, queue in queues.items():
        assert queue["SqsManagedSseEnabled"] is True
        if "-dead" in name:
            assert queue["MessageRetentionPeriod"] == 14 * 86400
            continue
        dead = "wakes-dead.fifo" if name == "wakes.fifo" else f"{name}-dead"
        redrive = queue["RedrivePolicy"]
        assert redrive["deadLetterTargetArn"] == {"Fn::GetAtt": [logical["spillway-${Stage}-" + dead], "Arn"]}
        assert redrive["maxReceiveCount"] == (3 if name == "wakes.fifo" else 5)


def test_visibility_fits_the_functions_timeouts(home: dict[str, Any]) -> None:
    """Six timeouts for batches; just above one for wakes, because a crashed pass blocks its pool for that long."""
    functions = json.loads((ROOT / ".chalice" / "config.json").read_text())["lambda_functions"]
    queues = by_name(home, "AWS::SQS::Queue", "QueueName")
    for name in ("submissions", "heartbeats", "timers", "wakes"):
        assert functions[name]["lambda_timeout"] == FUNCTION_TIMEOUT_S
    for name in ("submissions", "heartbeats", "timers"):
        assert queues[name]["VisibilityTimeout"] == 6 * FUNCTION_TIMEOUT_S
    assert FUNCTION_TIMEOUT_S < queues["wakes.fifo"]["VisibilityTimeout"] <= FUNCTION_TIMEOUT_S + 10


def test_wakes_of_one_pool_are_deduplicated_among_themselves_only(home: dict[str, Any]) -> None:
    """Every wake of a pool has the same body, so the content must not decide; groups must not slow each other."""
    wakes = by_name(home, "AWS::SQS::Queue", "QueueName")["wakes.fifo"]
    assert wakes["FifoQueue"] is True
    assert wakes["ContentBasedDeduplication"] is False
    assert (wakes["DeduplicationScope"], wakes["FifoThroughputLimit"]) == ("messageGroup", "perMessageGroupId")


def test_queues_topics_and_bucket_refuse_plain_http(home: dict[str, Any]) -> None:
    """Each has a policy that denies everybody without TLS; all queues are under it."""
    policies = [
        p for kind in ("SQS::Queue", "SNS::Topic", "S3::Bucket") for p in of_type(home, f"AWS::{kind}Policy").values()
    ]
    assert len(policies) == 4
    for policy in policies:
        assert [s["Condition"] for s in policy["PolicyDocument"]["Statement"] if s["Effect"] == "Deny"] == [
            {"Bool": {"aws:SecureTransport": "false"}}
        ]
    covered = {ref["Ref"] for ref in of_type(home, "AWS::SQS::QueuePolicy")["QueuesOverTls"]["Queues"]}
    assert covered == set(of_type(home, "AWS::SQS::Queue"))


def test_the_bucket_is_private_encrypted_and_tidies_up(home: dict[str, Any]) -> None:
    """All four public-access blocks, no ACLs, and a lifetime for all but the agent."""
    bucket = of_type(home, "AWS::S3::Bucket")["Bucket"]
    assert bucket["PublicAccessBlockConfiguration"] == dict.fromkeys(
        ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"), True
    )
    assert bucket["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    (encryption,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert encryption["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    rules = {r.get("Prefix", ""): r for r in bucket["LifecycleConfiguration"]["Rules"]}
    assert all(r["Status"] == "Enabled" for r in rules.values())
    assert rules.pop("")["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
    assert {prefix: r["ExpirationInDays"] for prefix, r in rules.items()} == {
        "inbox/": 1,
        "hosts/": {"Ref": "HostFilesDays"},
        "uploads/": {"Ref": "UploadDays"},
        "quarantine/": 90,
        "arrays/": 120,
    }


def test_a_host_may_do_exactly_this(home: dict[str, Any]) -> None:
    """Untrusted code runs beside these credentials: the list is closed, and inline."""
    role = of_type(home, "AWS::IAM::Role")["HostRole"]
    assert "ManagedPolicyArns" not in role
    (inline,) = role["Policies"]
    granted = {}
    for statement in inline["PolicyDocument"]["Statement"]:
        assert statement["Effect"] == "Allow"
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        granted.update(dict.fromkeys(actions, (statement["Resource"], statement.get("Condition"))))
    assert not [a for a in granted if "*" in a]
    assert granted.pop("sqs:SendMessage") == ({"Fn::GetAtt": ["HeartbeatsQueue", "Arn"]}, None)
    assert granted.pop("s3:GetObject") == (
        [{"Fn::Sub": "${Bucket.Arn}/agent/*"}, {"Fn::Sub": "${Bucket.Arn}/inbox/${!aws:userid}/*"}],
        None,
    )
    assert granted.pop("s3:PutObject") == ({"Fn::Sub": "${Bucket.Arn}/hosts/${!aws:userid}/*"}, None)
    assert granted.pop("dynamodb:PutItem") == (
        {"Fn::GetAtt": ["ClaimsTable", "Arn"]},
        {
            "ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["${aws:userid}"]},
            "Null": {"dynamodb:LeadingKeys": "false"},
        },
    )
    assert {action.split(":")[0] for action in granted} == {"ssm", "ssmmessages", "ec2messages"}
    assert {a for a in granted if a.startswith("ssm:")} == {"ssm:UpdateInstanceInformation"}
    assert not [a for a in granted if "Parameter" in a or "Document" in a or "Association" in a]


def test_only_run_commands_plumbing_is_granted_on_every_resource(home: dict[str, Any]) -> None:
    """`*` as a resource appears where AWS has nothing narrower, and nowhere else."""
    role = of_type(home, "AWS::IAM::Role")["HostRole"]
    wide = [s["Sid"] for s in role["Policies"][0]["PolicyDocument"]["Statement"] if s["Resource"] == "*"]
    assert wide == ["BeReachedByRunCommand"]


def test_nothing_comes_in_to_a_host(region: dict[str, Any]) -> None:
    """No inbound rule, neither in the group nor beside it."""
    assert "SecurityGroupIngress" not in of_type(region, "AWS::EC2::SecurityGroup")["HostGroup"]
    assert not of_type(region, "AWS::EC2::SecurityGroupIngress")


def test_hosts_demand_the_second_metadata_version_and_vanish_when_they_stop(region: dict[str, Any]) -> None:
    """IMDSv2 only, one hop, no tags in it; shutdown terminates; the disk is encrypted and goes too."""
    data = of_type(region, "AWS::EC2::LaunchTemplate")["HostTemplate"]["LaunchTemplateData"]
    assert data["MetadataOptions"] == {
        "HttpEndpoint": "enabled",
        "HttpTokens": "required",
        "HttpPutResponseHopLimit": 1,
        "InstanceMetadataTags": "disabled",
    }
    assert data["InstanceInitiatedShutdownBehavior"] == "terminate"
    (volume,) = data["BlockDeviceMappings"]
    assert volume["Ebs"]["Encrypted"] is True
    assert volume["Ebs"]["DeleteOnTermination"] is True
    assert volume["Ebs"]["VolumeType"] == "gp3"
    assert "KeyName" not in data
    parameter = region["Parameters"]["ImageId"]
    assert parameter["Type"] == "AWS::SSM::Parameter::Value<AWS::EC2::Image::Id>"
    assert parameter["Default"].endswith("al2023-ami-kernel-default-x86_64")


def test_another_regions_events_reach_home_and_homes_own_are_not_doubled(region: dict[str, Any]) -> None:
    """The rule and its role exist only away from home."""
    for name in ("ForwardRule", "ForwardRole"):
        assert region["Resources"][name]["Condition"] == "AwayFromHome"
    rule = of_type(region, "AWS::Events::Rule")["ForwardRule"]
    assert rule["EventPattern"]["source"] == ["aws.ec2", "aws.autoscaling"]
    assert "EC2 Spot Instance Interruption Warning" in rule["EventPattern"]["detail-type"]


def test_every_function_has_a_log_group_that_forgets(home: dict[str, Any]) -> None:
    """Chalice calls the API's function `<app>-<stage>`, without the handler's name."""
    groups = {p["LogGroupName"]["Fn::Sub"] for p in of_type(home, "AWS::Logs::LogGroup").values()}
    names = {f"/aws/lambda/spillway-${{Stage}}-{f}" for f in FUNCTIONS if f != "api_handler"}
    assert groups == names | {"/aws/lambda/spillway-${Stage}"}
    assert all(p["RetentionInDays"] == {"Ref": "LogDays"} for p in of_type(home, "AWS::Logs::LogGroup").values())


def test_alarms_tell_the_notices_topic_and_stay_within_the_free_ten(home: dict[str, Any]) -> None:
    """Dead letters of every queue, the oldest wake, errors of every function that has no queue behind it."""
    alarms = of_type(home, "AWS::CloudWatch::Alarm")
    assert set(alarms) == {"DeadLettersAlarm", "OldestWakeAlarm", "FunctionErrorsAlarm"}
    assert all(a["AlarmActions"] == [{"Ref": "NoticesTopic"}] for a in alarms.values())
    metrics = [m for a in alarms.values() for m in a.get("Metrics", [a]) if "Expression" not in m]
    assert len(metrics) == 10
    watched = {
        d["Value"]["Fn::GetAtt"][0]
        for m in alarms["DeadLettersAlarm"]["Metrics"]
        if "MetricStat" in m
        for d in m["MetricStat"]["Metric"]["Dimensions"]
    }
    assert watched == {"SubmissionsDead", "HeartbeatsDead", "WakesDead", "TimersDead"}
    failing = {
        d["Value"]["Fn::Sub"]
        for m in alarms["FunctionErrorsAlarm"]["Metrics"]
        if "MetricStat" in m
        for d in m["MetricStat"]["Metric"]["Dimensions"]
    }
    without_queue = set(FUNCTIONS) - {"submissions", "heartbeats", "wakes", "timers", "api_handler"}
    assert failing == {"spillway-${Stage}"} | {"spillway-${Stage}-" + f for f in without_queue}
