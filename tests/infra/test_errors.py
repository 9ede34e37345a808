"""AWS's refusals as sentences for people."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError, ProfileNotFound

from infra.errors import explain


def refusal(code: str, message: str, operation: str = "CreateStack") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, operation)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            refusal(
                "AccessDenied",
                "User: arn:aws:iam::1:user/u is not authorized to perform: cloudformation:CreateStack on resource: x",
            ),
            "lack the permission cloudformation:CreateStack",
        ),
        (
            refusal("UnauthorizedOperation", "You are not authorized to perform this operation.", "DescribeVpcs"),
            "lack the permission DescribeVpcs",
        ),
        (
            refusal("InvalidClientTokenId", "The security token included in the request is invalid."),
            "does not accept these credentials",
        ),
        (refusal("ExpiredToken", "The security token included in the request is expired"), "have expired"),
        (ProfileNotFound(profile="nope"), "Set AWS_PROFILE"),
    ],
)
def test_a_refusal_says_what_is_missing_and_what_to_do(error: Exception, said: str) -> None:
    """One sentence each, naming the permission where there is one."""
    explained = explain(error)
    assert explained is not None
    assert said in str(explained)


def test_what_a_person_cannot_mend_stays_an_error() -> None:
    """A wrong request is our bug: it must not be dressed up as theirs."""
    assert explain(refusal("ValidationError", "Template format error")) is None
    assert explain(ValueError("x")) is None
