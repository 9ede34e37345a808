"""Systems Manager's Parameter Store and Secrets Manager: values of secrets, as few requests as possible.

Either service refuses a whole request of several for one that may not be decrypted; then each is asked for alone, so that one owner's
wrong key holds up nobody else. What is not there, or refused, is an answer; what is throttled or unreachable is CloudUnavailable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from chalicelib.cloud.clients import Clients
from chalicelib.cloud.refusals import asking, code_of, message_of
from chalicelib.core.secrets import ABSENT, MANAGER, SSM, Secret

PARAMETERS_MAX, SECRETS_MAX = 10, 20  # AWS's own, a request
REFUSED = frozenset(
    {
        "AccessDeniedException",
        "AccessDenied",
        "DecryptionFailure",
        "InvalidKeyId",
        "InvalidRequestException",
        "ValidationException",
    }
)


class AwsSecrets:
    """`ports.Secrets` in one region."""

    def __init__(self, clients: Clients, region: str) -> None:
        self._clients = clients
        self._region = region

    def read(self, names: Sequence[str]) -> dict[str, Secret]:
        found: dict[str, Secret] = {}
        for service, read, most in ((SSM, self._parameters, PARAMETERS_MAX), (MANAGER, self._secrets, SECRETS_MAX)):
            wanted = [name.removeprefix(f"{service}:") for name in names if name.startswith(f"{service}:")]
            for some in _chunks(wanted, most):
                found |= {f"{service}:{name}": secret for name, secret in _each(read, some).items()}
        return found

    def _parameters(self, names: list[str]) -> dict[str, Secret]:
        answer = self._clients.get("ssm", self._region).get_parameters(Names=names, WithDecryption=True)
        found = {item["Name"]: Secret(item["Value"]) for item in answer["Parameters"]}
        return {name: found.get(name, ABSENT) for name in names}

    def _secrets(self, names: list[str]) -> dict[str, Secret]:
        answer = self._clients.get("secretsmanager", self._region).batch_get_secret_value(SecretIdList=names)
        found = {item["Name"]: _text(item) for item in answer["SecretValues"]}
        for error in answer.get("Errors", []):
            if error["ErrorCode"] in REFUSED:
                found[error["SecretId"]] = _refused(error["ErrorCode"], error.get("Message", ""))
            elif error["ErrorCode"] != "ResourceNotFoundException":
                raise _NotNow(error["ErrorCode"])
        return {name: found.get(name, ABSENT) for name in names}


class _NotNow(Exception):
    """One of several could not be read at the moment."""


def _each(read: Callable[[list[str]], dict[str, Secret]], names: list[str]) -> Mapping[str, Secret]:
    """Together, or one by one where AWS refuses them together. Raises CloudUnavailable."""
    from botocore.exceptions import ClientError

    from chalicelib.errors import CloudUnavailable

    with asking(f"AWS was asked for {len(names)} secrets"):
        try:
            return read(names)
        except _NotNow as error:
            raise CloudUnavailable(f"AWS was asked for {len(names)} secrets and answered {error}") from None
        except ClientError as error:
            if code_of(error) not in REFUSED:
                raise
            if len(names) == 1:
                return {names[0]: _refused(code_of(error), message_of(error))}
    return {name: secret for one in names for name, secret in _each(read, [one]).items()}


def _refused(code: str, message: str) -> Secret:
    return Secret(fault=f"AWS refuses it ({code}: {message[:300]})")


def _text(item: Mapping[str, Any]) -> Secret:
    value = item.get("SecretString")
    return Secret(fault="it holds bytes, and only texts can be handed over") if value is None else Secret(value)


def _chunks(names: list[str], most: int) -> Iterator[list[str]]:
    return (names[start : start + most] for start in range(0, len(names), most))
