"""The functions' policies: least privilege as committed, exact for one stage as rendered."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.s3_places import Place
from infra.policies import Facts, _granted, render
from infra.stage import FUNCTIONS
from localcloud.policy import Decision, Request, evaluate

ROOT = Path(__file__).parents[2]
POLICIES = {f: json.loads((ROOT / "policies" / f"{f}.json").read_text()) for f in FUNCTIONS}
WIDE = {  # EC2 knows no narrower resource for any of them
    "ec2:DescribeImages",
    "ec2:DescribeInstances",
    "ec2:DescribeInstanceTypeOfferings",
    "ec2:DescribeLaunchTemplates",
    "ec2:DescribeLaunchTemplateVersions",
    "ec2:DescribeSpotPriceHistory",
    "ec2:DescribeSubnets",
    "autoscaling:DescribeAutoScalingGroups",
    "secretsmanager:BatchGetSecretValue",  # which needs secretsmanager:GetSecretValue of each besides
}


def facts(stage: str = "a", region: str = "eu-central-1") -> Facts:
    return Facts(
        stage=stage,
        region=region,
        account="111122223333",
        partition="aws",
        bucket=f"spillway-{stage}-home-bucket-x1y2",
    )


def statements(policy: dict[str, Any]) -> list[dict[str, Any]]:
    return list(policy["Statement"])


def listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_policies_name_actions_singly_and_resources_of_spillway_only(function: str) -> None:
    """No action wildcards; `*` as a resource only where AWS has nothing narrower; no managed policies hide here."""
    for statement in statements(POLICIES[function]):
        assert statement["Effect"] == "Allow"
        assert not [a for a in listed(statement["Action"]) if "*" in a]
        if "*" in listed(statement["Resource"]):
            assert set(listed(statement["Action"])) <= WIDE
    assert (
        len(json.dumps(POLICIES[function], separators=(",", ":"))) < 10_240
    )  # IAM's limit for a role's inline policies


def test_there_is_a_policy_for_each_function_and_no_other() -> None:
    """A policy without a function would be forgotten when it should shrink."""
    assert {p.stem for p in (ROOT / "policies").glob("*.json")} == set(FUNCTIONS)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_rendered_policy_has_no_wildcard_for_stage_account_or_bucket(function: str) -> None:
    """What is left open is what lies inside the stage: keys below a prefix, log streams, EC2's regions."""
    rendered = render(POLICIES[function], facts())
    for statement in statements(rendered):
        for resource in listed(statement["Resource"]):
            if resource == "*":
                continue
            _, _, service, region, account, rest = resource.split(":", 5)
            assert "spillway-*" not in rest
            assert account in ("111122223333", "")
            assert region in ("eu-central-1", "") or service in ("autoscaling", "ec2", "ssm")
    assert '"*"' not in json.dumps([s.get("Condition", {}) for s in statements(rendered)])


@given(stage=st.from_regex(r"a-[a-z0-9]{1,10}", fullmatch=True), function=st.sampled_from(FUNCTIONS))
def test_stages_never_touch_each_other(stage: str, function: str) -> None:
    """Everything that stage `a` may name is out of bounds for a stage whose name starts like it, and the other way round."""
    ours, theirs = render(POLICIES[function], facts("a")), render(POLICIES[function], facts(stage))
    for mine, other in ((ours, theirs), (theirs, ours)):
        for statement in statements(other):
            for action in listed(statement["Action"]):
                for resource in listed(statement["Resource"]):
                    if "spillway-" in resource:
                        request = Request(action, resource.replace("*", "x"), {})
                        assert evaluate([json.dumps(mine)], request) is Decision.IMPLICIT_DENY


@pytest.mark.parametrize(
    ("service", "action", "noun"),
    [("ssm", "GetParameters", "parameter"), ("secretsmanager", "GetSecretValue", "secret:")],
)
def test_secrets_are_read_by_passes_only_and_only_those_of_the_stage(service: str, action: str, noun: str) -> None:
    """Whoever hands jobs over must read them; a hole in the API must not."""
    arn = f"arn:aws:{service}:eu-central-1:111122223333:{noun}/spillway/{{}}/alice/token"
    for function in FUNCTIONS:
        document = json.dumps(render(POLICIES[function], facts("a")))
        allowed = evaluate([document], Request(f"{service}:{action}", arn.format("a"), {}))
        assert allowed is (Decision.ALLOW if function == "wakes" else Decision.IMPLICIT_DENY), function
        for stage in ("b", "a-b", "ab"):
            other = Request(f"{service}:{action}", arn.format(stage), {})
            assert evaluate([document], other) is Decision.IMPLICIT_DENY


def test_who_calls_webhooks_reads_the_keys_that_sign_them_and_no_other_secret() -> None:
    """It talks to addresses that users chose: so it holds as little as it can."""
    document = json.dumps(render(POLICIES["timers"], facts("a")))
    for name, decision in (
        ("a/alice/webhook-key", Decision.ALLOW),
        ("a/alice/token", Decision.IMPLICIT_DENY),
        ("b/alice/webhook-key", Decision.IMPLICIT_DENY),
    ):
        arn = f"arn:aws:ssm:eu-central-1:111122223333:parameter/spillway/{name}"
        assert evaluate([document], Request("ssm:GetParameters", arn, {})) is decision, name


def test_only_instances_of_the_stage_can_be_terminated_or_rung() -> None:
    """By tag, because instance ids are not known beforehand."""
    document = json.dumps(render(POLICIES["wakes"], facts("a")))
    instance = "arn:aws:ec2:us-west-2:111122223333:instance/i-1"
    for action, key in (("ec2:TerminateInstances", "aws:ResourceTag"), ("ssm:SendCommand", "ssm:resourceTag")):
        for tag, decision in (("a", Decision.ALLOW), ("a-b", Decision.IMPLICIT_DENY)):
            request = Request(action, instance, {f"{key}/spillway:stage".lower(): [tag]})
            assert evaluate([document], request) is decision
        assert evaluate([document], Request(action, instance, {})) is Decision.IMPLICIT_DENY


def test_the_authorizer_notes_uses_and_cannot_change_a_token() -> None:
    """What every request passes through, tokens of strangers too, must not be able to make one."""
    document = json.dumps(render(POLICIES["authorize"], facts("a")))
    table = "arn:aws:dynamodb:eu-central-1:111122223333:table/spillway-a-registry"
    for kind, decision in (
        ("use", Decision.ALLOW),
        ("token", Decision.IMPLICIT_DENY),
        ("quota", Decision.IMPLICIT_DENY),
    ):
        for action in ("PutItem", "UpdateItem"):
            wanted = decision if action == "PutItem" else Decision.IMPLICIT_DENY
            request = Request(f"dynamodb:{action}", table, {"dynamodb:leadingkeys": [kind]})
            assert evaluate([document], request) is wanted
    assert evaluate([document], Request("dynamodb:PutItem", table, {})) is Decision.IMPLICIT_DENY


def test_of_functions_only_the_api_makes_tokens() -> None:
    """It has an admin's word for it; what agents, queues and clocks set going has nobody's."""
    table = "arn:aws:dynamodb:eu-central-1:111122223333:table/spillway-a-registry"
    for function in FUNCTIONS:
        document = json.dumps(render(POLICIES[function], facts("a")))
        for action in ("PutItem", "UpdateItem", "BatchWriteItem", "DeleteItem"):
            request = Request(f"dynamodb:{action}", table, {"dynamodb:leadingkeys": ["token"]})
            may = function == "api_handler" and action in ("PutItem", "DeleteItem")
            assert evaluate([document], request) is (Decision.ALLOW if may else Decision.IMPLICIT_DENY)


def test_the_api_writes_only_what_its_routes_are_for() -> None:
    """A hole in it must not reach what other functions keep in the registry."""
    document = json.dumps(render(POLICIES["api_handler"], facts("a")))
    table = "arn:aws:dynamodb:eu-central-1:111122223333:table/spillway-a-registry"
    for kind, decision in (
        ("pool", Decision.ALLOW),
        ("defaults", Decision.ALLOW),
        ("looking/default", Decision.ALLOW),
        ("token", Decision.ALLOW),
        ("quota", Decision.ALLOW),
        ("use", Decision.IMPLICIT_DENY),
        ("setting", Decision.IMPLICIT_DENY),
        ("family", Decision.ALLOW),
        ("family/grading", Decision.ALLOW),
        ("fire/nightly", Decision.ALLOW),
        ("due", Decision.ALLOW),
    ):
        assert evaluate([document], Request("dynamodb:PutItem", table, {"dynamodb:leadingkeys": [kind]})) is decision
    assert evaluate([document], Request("dynamodb:PutItem", table, {})) is Decision.IMPLICIT_DENY


def test_the_tick_changes_pools_and_nothing_else_of_the_registry() -> None:
    """It re-makes specs and counts lookers; tokens and the stage's defaults are not its own."""
    document = json.dumps(render(POLICIES["tick"], facts("a")))
    table = "arn:aws:dynamodb:eu-central-1:111122223333:table/spillway-a-registry"
    for action, kind, decision in (
        ("UpdateItem", "pool", Decision.ALLOW),
        ("UpdateItem", "token", Decision.IMPLICIT_DENY),
        ("UpdateItem", "defaults", Decision.IMPLICIT_DENY),
        ("PutItem", "pool", Decision.IMPLICIT_DENY),
    ):
        request = Request(f"dynamodb:{action}", table, {"dynamodb:leadingkeys": [kind]})
        assert evaluate([document], request) is decision, (action, kind)
    for action, decision in (
        ("DescribeSpotPriceHistory", Decision.ALLOW),
        ("DescribeInstances", Decision.IMPLICIT_DENY),
        ("RunInstances", Decision.IMPLICIT_DENY),
    ):
        assert evaluate([document], Request(f"ec2:{action}", "*", {})) is decision, action


@pytest.mark.parametrize(
    ("function", "action", "kind"),
    [
        ("heartbeats", "UpdateItem", ("learned/default", "share/default")),
        ("timers", "UpdateItem", ("learned/default", "share/default")),
        ("api_handler", "UpdateItem", "share/default"),
        ("submissions", "UpdateItem", "share/default"),
        ("tick", "PutItem", "sample/default"),
    ],
    ids=str,
)
def test_who_learns_shares_and_samples_writes_those_rows_only(
    function: str, action: str, kind: str | tuple[str, ...]
) -> None:
    """By hash key: what is written every second must never be able to write a token, or another function's rows."""
    document = json.dumps(render(POLICIES[function], facts("a")))
    table = "arn:aws:dynamodb:eu-central-1:111122223333:table/spillway-a-registry"
    kinds = ("learned/default", "share/default", "sample/default")
    for asked in (*kinds, "token", "family"):
        request = Request(f"dynamodb:{action}", table, {"dynamodb:leadingkeys": [asked]})
        own = kind if isinstance(kind, tuple) else (kind,)
        expected = Decision.ALLOW if asked in own else Decision.IMPLICIT_DENY
        assert evaluate([document], request) is expected
    assert evaluate([document], Request("dynamodb:Query", table, {"dynamodb:leadingkeys": ["learned/default"]})) in (
        {Decision.ALLOW} if function in ("api_handler", "submissions", "tick") else set(Decision)
    )


def test_other_partitions_are_named_as_such() -> None:
    """In China and GovCloud every ARN starts differently."""
    china = Facts(stage="a", region="cn-north-1", account="111122223333", partition="aws-cn", bucket="b")
    text = json.dumps(render(POLICIES["wakes"], china))
    assert "arn:aws:" not in text
    assert "arn:aws-cn:dynamodb:cn-north-1:111122223333:table/spillway-a-claims" in text


def test_a_launch_takes_its_security_group_from_the_stages_template() -> None:
    """So no launch without the template, or into a group that lets anything in."""
    document = json.dumps(render(POLICIES["wakes"], facts("a")))
    prefix = "arn:aws:ec2:us-west-2:111122223333:"
    for resource, context, decision in (
        ("launch-template/lt-1", {"aws:resourcetag/spillway:stage": ["a"]}, Decision.ALLOW),
        ("launch-template/lt-2", {"aws:resourcetag/spillway:stage": ["b"]}, Decision.IMPLICIT_DENY),
        ("launch-template/lt-3", {}, Decision.IMPLICIT_DENY),  # a pool's own template needs the tag, too
        ("security-group/sg-1", {"ec2:islaunchtemplateresource": ["true"]}, Decision.ALLOW),
        ("security-group/sg-1", {"ec2:islaunchtemplateresource": ["false"]}, Decision.IMPLICIT_DENY),
        ("instance/*", {"aws:requesttag/spillway:stage": ["a"]}, Decision.ALLOW),
        ("instance/*", {}, Decision.IMPLICIT_DENY),
    ):
        assert evaluate([document], Request("ec2:RunInstances", prefix + resource, context)) is decision, resource


@pytest.mark.parametrize("function", FUNCTIONS)
def test_whoever_may_change_a_job_or_a_host_may_tell_it(function: str) -> None:
    """The story lies beside the jobs and is written in batches; who changes nothing writes none."""
    document = json.dumps(render(POLICIES[function], facts("a")))
    table = "arn:aws:dynamodb:eu-central-1:111122223333:table/spillway-a-{}"
    changes = [
        evaluate([document], Request("dynamodb:UpdateItem", table.format(name), {})) is Decision.ALLOW
        for name in ("jobs", "hosts")
    ]
    tells = evaluate([document], Request("dynamodb:BatchWriteItem", table.format("jobs"), {})) is Decision.ALLOW
    assert tells or not any(changes)


def test_the_api_may_read_all_that_explains_a_plan_or_checks_a_pool() -> None:
    """Hosts, the queue, jobs that have not ended, EC2's list, what pools name - and it may neither launch nor terminate."""
    document = json.dumps(render(POLICIES["api_handler"], facts("a")))
    table = "arn:aws:dynamodb:eu-central-1:111122223333:table/spillway-a-"
    for action, resource, decision in (
        ("dynamodb:Query", table + "hosts", Decision.ALLOW),
        ("dynamodb:Query", table + "backlog", Decision.ALLOW),
        ("dynamodb:Query", table + "jobs", Decision.ALLOW),
        ("dynamodb:Query", table + "jobs/index/by_active", Decision.ALLOW),
        ("dynamodb:Query", table + "jobs/index/by_owner", Decision.ALLOW),
        ("ec2:DescribeInstances", "*", Decision.ALLOW),
        ("ec2:DescribeImages", "*", Decision.ALLOW),
        ("ec2:DescribeInstanceTypeOfferings", "*", Decision.ALLOW),
        ("ec2:DescribeLaunchTemplates", "*", Decision.ALLOW),
        ("ec2:DescribeLaunchTemplateVersions", "*", Decision.ALLOW),
        ("ec2:DescribeSpotPriceHistory", "*", Decision.ALLOW),
        ("ec2:DescribeSubnets", "*", Decision.ALLOW),
        ("ec2:RunInstances", "*", Decision.IMPLICIT_DENY),
        ("ec2:TerminateInstances", "*", Decision.IMPLICIT_DENY),
    ):
        assert evaluate([document], Request(action, resource, {})) is decision, action


@pytest.mark.parametrize("function", ["timers", "api_handler", "tick", "submissions", "heartbeats", "wakes"])
def test_who_fires_schedules_writes_them_and_who_does_not_cannot(function: str) -> None:
    """Families and schedules are made by people, by the API; the clock only lets schedules go on and decides their fires."""
    document = json.dumps(render(POLICIES[function], facts("a")))
    table = "arn:aws:dynamodb:eu-central-1:111122223333:table/spillway-a-registry"
    allowed = {
        "timers": {"UpdateItem schedule", "PutItem fire/n", "UpdateItem fire/n", "PutItem due", "BatchWriteItem due"},
        "api_handler": {
            *("UpdateItem schedule", "DeleteItem schedule", "PutItem fire/n", "PutItem due", "BatchWriteItem due"),
            *("PutItem family", "PutItem family/f"),
        },
        "tick": {"PutItem due", "BatchWriteItem due"},
        "submissions": {"PutItem due", "BatchWriteItem due"},
    }.get(function, set())
    for action in ("PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem"):
        for kind in ("schedule", "fire/n", "due", "family", "family/f"):
            request = Request(f"dynamodb:{action}", table, {"dynamodb:leadingkeys": [kind]})
            expected = Decision.ALLOW if f"{action} {kind}" in allowed else Decision.IMPLICIT_DENY
            assert evaluate([document], request) is expected, (action, kind)


def test_a_grading_bucket_is_touched_below_the_named_prefix_only() -> None:
    named = replace(
        facts("a"), grading_bucket=Place("eu-central-1", "exams", "math/"), grading_results_arn="arn:aws:sqs:::r"
    )
    for function, action, name in (("wakes", "GetObject", "job.tar.gz"), ("timers", "PutObject", "results.json")):
        document = json.dumps({"Statement": _granted(function, named)})
        for key, decision in ((f"math/job_1/{name}", Decision.ALLOW), (f"art/job_1/{name}", Decision.IMPLICIT_DENY)):
            assert evaluate([document], Request(f"s3:{action}", f"arn:aws:s3:::exams/{key}", {})) is decision
