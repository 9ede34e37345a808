"""What can go wrong between here and AWS, in words for the person who has to fix it."""

from __future__ import annotations

import re

import botocore.exceptions as aws

DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError"})
BAD_KEYS = frozenset({"InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch", "AuthFailure"})
EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})


class InfraError(Exception):
    """Cannot go on; the text says what is wrong, where, and what to do."""


def explain(error: Exception) -> InfraError | None:
    """An AWS error as a sentence, or None if it is not one that a person can do something about."""
    match error:
        case aws.NoCredentialsError() | aws.PartialCredentialsError():
            return InfraError(
                "There are no AWS credentials. Run `aws configure` (or `aws sso login`), or set AWS_PROFILE to a profile that has them."
            )
        case aws.ProfileNotFound():
            return InfraError(f"{error}. Set AWS_PROFILE to a profile in ~/.aws/config, or unset it.")
        case aws.TokenRetrievalError() | aws.SSOTokenLoadError() | aws.UnauthorizedSSOTokenError():
            return InfraError("Your AWS sign-in has run out. Run `aws sso login` and try again.")
        case (
            aws.EndpointConnectionError()
            | aws.ConnectTimeoutError()
            | aws.ReadTimeoutError()
            | aws.ConnectionClosedError()
        ):
            return InfraError(f"AWS does not answer: {error} Check the network and AWS_ENDPOINT_URL.")
        case aws.ClientError():
            return _explain_refusal(error)
    return None


def _explain_refusal(error: aws.ClientError) -> InfraError | None:
    code = error.response["Error"].get("Code", "")
    message = error.response["Error"].get("Message", "")
    if code in DENIED or "not authorized to perform" in message:
        named = re.search(r"perform:? ([\w-]+:\w+)", message)
        what = named.group(1) if named else error.operation_name
        return InfraError(
            f"These credentials lack the permission {what}. infra/README.md lists what bootstrap and deploy need. AWS said: {message}"
        )
    if code in BAD_KEYS:
        return InfraError(
            f"AWS does not accept these credentials ({code}). Check the keys, and that they belong to this partition."
        )
    if code in EXPIRED:
        return InfraError("These AWS credentials have expired. Sign in again (`aws sso login`) and try again.")
    return None
