"""Least privilege, proven: every call of an issued key needs an Allow in its role's policies.

The policies are read from moto's IAM at each call, so what `chalice deploy` or CloudFormation wrote counts at once. A refused call
answers in the protocol's own form with AWS's usual sentence, is logged and counted; what was used is counted too, so that a test can
name the permissions that nobody needed.
"""

from __future__ import annotations

import json
import logging
import threading
from collections import Counter
from collections.abc import Iterable
from typing import Any

from localcloud.calls import AwsCall, AwsReply, refusal
from localcloud.identity import ACCOUNT_ID, Principal
from localcloud.needs import needs
from localcloud.policy import Decision, Request, action_matches, evaluate, granted_actions

log = logging.getLogger("localcloud.iam")


class Authorizer:
    """A guard of the front. `denials` counts (role, action, resource); `used` counts (role, action)."""

    def __init__(self) -> None:
        self.denials: Counter[tuple[str, str, str]] = Counter()
        self.used: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def check(self, call: AwsCall) -> AwsReply | None:
        """None, or AWS's refusal. The developer (no principal) may do everything."""
        principal = call.principal
        if principal is None:
            return None
        documents = list(policies_of(principal.role))
        wanted = needs(call)
        for request in wanted:
            decision = evaluate(documents, request)
            if decision is not Decision.ALLOW:
                return self._refuse(call, principal, request, decision)
        with self._lock:
            self.used.update((principal.role, request.action) for request in wanted)
        return None

    def count(self, role: str, action: str) -> None:
        """Note a use that another part checked: a mapping receives as the function's role."""
        with self._lock:
            self.used[role, action] += 1

    def allows(self, principal: Principal, request: Request) -> bool:
        """Whether a principal's policies allow one thing, without counting it."""
        return evaluate(policies_of(principal.role), request) is Decision.ALLOW

    def report(self) -> dict[str, Any]:
        """Everything denied and used so far, and what roles that did anything were granted but never used."""
        with self._lock:
            used = set(self.used)
            return {
                "denied": [
                    {"role": role, "action": action, "resource": resource, "count": count}
                    for (role, action, resource), count in self.denials.items()
                ],
                "used": [{"role": role, "action": action, "count": n} for (role, action), n in self.used.items()],
                "unused": [
                    {"role": role, "action": pattern}
                    for role in sorted({role for role, _ in used})
                    for pattern in granted_actions(policies_of(role))
                    if not any(action_matches(pattern, action) for who, action in used if who == role)
                ],
            }

    def app(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        """The report over HTTP (mounted at /_iam)."""
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(self.report()).encode()]

    def _refuse(self, call: AwsCall, principal: Principal, request: Request, decision: Decision) -> AwsReply:
        with self._lock:
            self.denials[principal.role, request.action, request.resource] += 1
        log.warning(
            "denied role=%s session=%s action=%s resource=%s because=%s",
            *(principal.role, principal.session, request.action, request.resource, decision.value.replace(" ", "-")),
        )
        return denied(call, principal, request, explicit=decision is Decision.EXPLICIT_DENY)


def denied(call: AwsCall, principal: Principal, request: Request, *, explicit: bool = False) -> AwsReply:
    """AWS's refusal of a request, in the form of the call's protocol."""
    because = (
        "with an explicit deny in an identity-based policy"
        if explicit
        else f"because no identity-based policy allows the {request.action} action"
    )
    on = f" on resource: {request.resource}"
    sentence = f"User: {principal.arn} is not authorized to perform: {request.action}{on} {because}"
    match call.protocol:
        case "ec2":
            return refusal(
                call, "UnauthorizedOperation", f"You are not authorized to perform this operation. {sentence}"
            )
        case "json":
            return refusal(call, "AccessDeniedException", sentence, 403 if call.service == "sqs" else 400)
        case "rest-json":
            return refusal(call, "AccessDeniedException", sentence)
        case _:
            return refusal(call, "AccessDenied", sentence)


def policies_of(role_name: str) -> Iterable[str]:
    """The documents of a role's inline and attached policies, as moto has them now; none for an unknown role."""
    from moto.backends import get_backend

    for role in list(get_backend("iam")[ACCOUNT_ID]["aws"].roles.values()):
        if role.name == role_name:
            for document in list(role.policies.values()):
                yield document if isinstance(document, str) else json.dumps(document)
            for policy in list(role.managed_policies.values()):
                version = next(v for v in policy.versions if v.version_id == policy.default_version_id)
                yield str(version.document)
            return
