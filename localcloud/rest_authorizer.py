"""API Gateway's TOKEN authorizer: asks a function, keeps its policy for a while, evaluates the policy for each request."""

import json
import re
import threading
import time
from typing import Any

from localcloud.lambdas.functions import Functions
from localcloud.rest_routes import Authorizer

CACHE_MAX = 10_000


class Refused(Exception):
    """A request ends here, with this status and body."""

    def __init__(self, status: int, body: dict[str, Any], kind: str) -> None:
        super().__init__(f"{status} {body}")
        self.status = status
        self.body = body
        self.kind = kind  # the value of x-amzn-ErrorType


class Authorizers:
    """Answers of authorizers, cached by token for the authorizer's own time."""

    def __init__(self, functions: Functions) -> None:
        self._functions = functions
        self._cache: dict[tuple[str, str], tuple[float, dict[str, Any]]] = {}
        self._lock = threading.Lock()

    def check(self, authorizer: Authorizer, headers: dict[str, str], method_arn: str) -> dict[str, Any]:
        """`requestContext.authorizer` for an allowed request. Raises Refused for any other."""
        wanted = authorizer.header.lower()
        token = next((value for name, value in headers.items() if name.lower() == wanted), "")
        if not token or (authorizer.token_pattern and not re.fullmatch(authorizer.token_pattern, token)):
            raise Refused(401, {"message": "Unauthorized"}, "UnauthorizedException")
        answer = self._cached(authorizer, token)
        if answer is None:
            answer = self._ask(authorizer, token, method_arn)
        verdict = evaluate(answer.get("policyDocument") or {}, method_arn)
        if verdict != "Allow":
            explicit = " with an explicit deny" if verdict == "Deny" else ""
            message = f"User is not authorized to access this resource{explicit}"
            raise Refused(403, {"Message": message}, "AccessDeniedException")
        context = {name: _text(value) for name, value in (answer.get("context") or {}).items()}
        return {"principalId": answer.get("principalId"), "integrationLatency": 0, **context}

    def _cached(self, authorizer: Authorizer, token: str) -> dict[str, Any] | None:
        with self._lock:
            expires_at, answer = self._cache.get((authorizer.function_arn, token), (0.0, {}))
        return answer if time.monotonic() < expires_at else None

    def _ask(self, authorizer: Authorizer, token: str, method_arn: str) -> dict[str, Any]:
        event = {"type": "TOKEN", "authorizationToken": token, "methodArn": method_arn}
        region = authorizer.function_arn.split(":")[3]
        payload = json.dumps(event).encode()
        outcome = self._functions.invoke(authorizer.function_arn, payload, wait=True, region=region)
        if not outcome.ok:
            if outcome.status == 200 and _error_message(outcome.payload) == "Unauthorized":
                raise Refused(401, {"message": "Unauthorized"}, "UnauthorizedException")
            raise Refused(500, {"message": None}, "AuthorizerFailureException")
        answer = _parsed(outcome.payload)
        if not isinstance(answer, dict) or not answer.get("principalId") or "policyDocument" not in answer:
            raise Refused(500, {"message": None}, "AuthorizerConfigurationException")
        if authorizer.ttl_s > 0:
            with self._lock:
                if len(self._cache) >= CACHE_MAX:
                    self._cache.clear()
                self._cache[authorizer.function_arn, token] = (time.monotonic() + authorizer.ttl_s, answer)
        return answer


def evaluate(policy: dict[str, Any], method_arn: str) -> str | None:
    """ "Deny" if a statement denies the method, else "Allow" if one allows it, else None."""
    effects = set()
    statements = policy.get("Statement", [])
    for statement in [statements] if isinstance(statements, dict) else statements:
        actions, resources = _list(statement.get("Action")), _list(statement.get("Resource"))
        action_fits = any(_matches(action.lower(), "execute-api:invoke") for action in actions)
        if action_fits and any(_matches(resource, method_arn) for resource in resources):
            effects.add(statement.get("Effect"))
    return "Deny" if "Deny" in effects else "Allow" if "Allow" in effects else None


def _matches(pattern: str, text: str) -> bool:
    expression = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(expression, text, re.DOTALL) is not None


def _list(value: Any) -> list[str]:
    if value is None:
        return []
    return [str(item) for item in value] if isinstance(value, list) else [str(value)]


def _text(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else str(value) if isinstance(value, (int, float)) else value


def _parsed(payload: bytes) -> Any:
    try:
        return json.loads(payload)
    except ValueError:
        return None


def _error_message(payload: bytes) -> str:
    document = _parsed(payload)
    return str(document.get("errorMessage", "")) if isinstance(document, dict) else ""
