"""IAM's rules, as AWS documents them, on policy documents alone."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localcloud.policy import Decision, Request, evaluate

HOST = {"aws:userid": ["AROA1:i-0abc"], "aws:principalarn": ["arn:aws:iam::123456789012:role/spillway-dev-host"]}


def decide(statement: dict[str, Any], action: str, resource: str, **context: Any) -> Decision:
    keys = {**HOST, **{k.lower(): v for k, v in context.pop("keys", {}).items()}}
    document = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **statement}]})
    return evaluate([document], Request(action, resource, keys))


def allowed(statement: dict[str, Any], action: str, resource: str, **context: Any) -> bool:
    return decide(statement, action, resource, **context) is Decision.ALLOW


@pytest.mark.parametrize(
    ("pattern", "action", "matches"),
    [
        ("sqs:SendMessage", "sqs:SendMessage", True),
        ("SQS:sendmessage", "sqs:SendMessage", True),
        ("sqs:Send*", "sqs:SendMessage", True),
        ("sqs:*", "sns:Publish", False),
        ("*", "ec2:RunInstances", True),
        ("s3:GetObjec?", "s3:GetObject", True),
        ("s3:GetObject", "s3:GetObjectTagging", False),
    ],
)
def test_actions_match_without_case_and_with_wildcards(pattern: str, action: str, matches: bool) -> None:
    assert allowed({"Action": pattern, "Resource": "*"}, action, "*") is matches


@pytest.mark.parametrize(
    ("pattern", "arn", "matches"),
    [
        ("arn:aws:s3:::b/agent/*", "arn:aws:s3:::b/agent/a.pyz", True),
        ("arn:aws:s3:::b/agent/*", "arn:aws:s3:::b/agents", False),
        ("arn:aws:s3:::b/inbox/${aws:userid}/*", "arn:aws:s3:::b/inbox/AROA1:i-0abc/inbox.json", True),
        ("arn:aws:s3:::b/inbox/${aws:userid}/*", "arn:aws:s3:::b/inbox/AROA1:i-0def/inbox.json", False),
        ("arn:aws:sqs:*:*:spillway-dev-*", "arn:aws:sqs:us-east-1:123456789012:spillway-dev-wakes.fifo", True),
        ("arn:aws:sqs:*:spillway-dev-*", "arn:aws:sqs:us-east-1:123456789012:spillway-dev-wakes", False),
        ("arn:aws:sqs:us-east-1:*:q", "arn:aws:sqs:eu-west-1:123456789012:q", False),
        ("arn:aws:s3:::b/${aws:nobody}/*", "arn:aws:s3:::b//x", False),
        ("arn:aws:s3:::b/${aws:nobody, 'anon'}/*", "arn:aws:s3:::b/anon/x", True),
        ("arn:aws:s3:::b/${*}", "arn:aws:s3:::b/anything", False),
        ("arn:aws:s3:::b/${*}", "arn:aws:s3:::b/*", True),
    ],
)
def test_resources_match_segment_by_segment_with_variables(pattern: str, arn: str, matches: bool) -> None:
    assert allowed({"Action": "*", "Resource": pattern}, "any:Thing", arn) is matches


def test_a_name_with_a_star_is_not_a_wildcard() -> None:
    """Whoever chooses a session name must not widen a policy by it."""
    statement = {"Action": "*", "Resource": "arn:aws:s3:::b/${aws:userid}"}
    assert not allowed(statement, "s3:GetObject", "arn:aws:s3:::b/secret", keys={"aws:userid": ["*"]})


def test_not_action_and_not_resource_turn_the_match_around() -> None:
    assert allowed({"NotAction": "iam:*", "Resource": "*"}, "s3:GetObject", "*")
    assert not allowed({"NotAction": "iam:*", "Resource": "*"}, "iam:PassRole", "*")
    assert not allowed({"Action": "*", "NotResource": "arn:aws:s3:::b/*"}, "s3:GetObject", "arn:aws:s3:::b/x")


def test_an_explicit_deny_wins_over_any_allow() -> None:
    documents = [
        json.dumps({"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}),
        json.dumps({"Statement": [{"Effect": "Deny", "Action": "s3:Delete*", "Resource": "*"}]}),
    ]
    assert evaluate(documents, Request("s3:DeleteObject", "*", {})) is Decision.EXPLICIT_DENY
    assert evaluate(documents, Request("s3:GetObject", "*", {})) is Decision.ALLOW
    assert evaluate([], Request("s3:GetObject", "*", {})) is Decision.IMPLICIT_DENY


@pytest.mark.parametrize(
    ("condition", "values", "holds"),
    [
        ({"StringEquals": {"k": "a"}}, ["a"], True),
        ({"StringEquals": {"k": ["a", "b"]}}, ["b"], True),
        ({"StringEquals": {"k": "a"}}, [], False),
        ({"StringEqualsIfExists": {"k": "a"}}, [], True),
        ({"StringEqualsIfExists": {"k": "a"}}, ["b"], False),
        ({"StringNotEquals": {"k": "a"}}, [], True),
        ({"StringNotEquals": {"k": "a"}}, ["a"], False),
        ({"StringLike": {"k": "spillway-*"}}, ["spillway-dev"], True),
        ({"StringEquals": {"k": "spillway-*"}}, ["spillway-dev"], False),
        ({"ForAllValues:StringEquals": {"k": ["${aws:userid}"]}}, ["AROA1:i-0abc"], True),
        ({"ForAllValues:StringEquals": {"k": ["${aws:userid}"]}}, ["AROA1:i-0abc", "AROA1:i-0def"], False),
        ({"ForAllValues:StringEquals": {"k": ["a"]}}, [], True),
        ({"ForAnyValue:StringEquals": {"k": ["a"]}}, ["b", "a"], True),
        ({"ForAnyValue:StringEquals": {"k": ["a"]}}, [], False),
        ({"ArnLike": {"k": "arn:aws:iam::*:role/x-*"}}, ["arn:aws:iam::1:role/x-y"], True),
        ({"ArnEquals": {"k": "arn:aws:iam::*:role/x"}}, ["arn:aws:iam::1:role/y"], False),
        ({"Bool": {"k": "true"}}, ["true"], True),
        ({"Bool": {"k": True}}, ["false"], False),
        ({"Null": {"k": "true"}}, [], True),
        ({"Null": {"k": "false"}}, [], False),
        ({"NumericLessThanEquals": {"k": "10"}}, ["10"], True),
        ({"IpAddress": {"k": "127.0.0.0/8"}}, ["127.0.0.1"], True),
        ({"StringEquals": {"K": "a"}}, ["a"], True),
        ({"StringEquals": {"k": "a", "other": "b"}}, ["a"], False),
    ],
)
def test_conditions_hold_as_aws_says(condition: dict[str, Any], values: list[str], holds: bool) -> None:
    statement = {"Action": "*", "Resource": "*", "Condition": condition}
    assert allowed(statement, "a:B", "*", keys={"k": values} if values else {}) is holds


def test_an_unknown_operator_grants_nothing_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """In an Allow it fails, in a Deny it applies: a typo in a policy must not open a door."""
    condition = {"StringResembles": {"aws:userid": "x"}}
    with caplog.at_level(logging.ERROR):
        assert not allowed({"Action": "*", "Resource": "*", "Condition": condition}, "a:B", "*")
        everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
        no = {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": condition}
        document = json.dumps({"Statement": [everything, no]})
        assert evaluate([document], Request("a:B", "*", {})) is Decision.EXPLICIT_DENY
    assert "StringResembles" in caplog.text


NAMES = st.text(st.characters(codec="ascii", exclude_characters="\x00"), max_size=12)


@given(mine=NAMES, theirs=NAMES)
def test_a_userid_prefix_admits_its_own_userid_only(mine: str, theirs: str) -> None:
    """Whatever characters a userid holds, `${aws:userid}/*` is one host's folder."""
    statement = {"Action": "s3:PutObject", "Resource": "arn:aws:s3:::b/hosts/${aws:userid}/*"}
    own = allowed(statement, "s3:PutObject", f"arn:aws:s3:::b/hosts/{mine}/log", keys={"aws:userid": [mine]})
    other = allowed(statement, "s3:PutObject", f"arn:aws:s3:::b/hosts/{theirs}/log", keys={"aws:userid": [mine]})
    assert own
    assert other == (mine == theirs or theirs.startswith(mine + "/"))
