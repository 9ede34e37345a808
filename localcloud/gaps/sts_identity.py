"""STS for keys that the embedded cloud issued: moto does not know them, and would call everybody the same user.

AssumeRole by the developer issues a real session too, so that its policies count.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from xml.sax.saxutils import escape

from localcloud.calls import AwsCall, AwsReply, refusal
from localcloud.front import Forward, Front
from localcloud.identity import ACCOUNT_ID, Identities, UnknownRole

NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"


def install(front: Front, identities: Identities) -> None:
    """Answer GetCallerIdentity and AssumeRole."""

    def who(call: AwsCall, forward: Forward) -> AwsReply:
        principal = call.principal
        if principal is None:
            return forward(call)
        fields = f"<Arn>{escape(principal.arn)}</Arn><UserId>{escape(principal.userid)}</UserId>"
        return _reply("GetCallerIdentity", f"{fields}<Account>{ACCOUNT_ID}</Account>")

    def assume(call: AwsCall, forward: Forward) -> AwsReply:
        role = str(call.params.get("RoleArn", "")).rpartition("/")[2]
        session = str(call.params.get("RoleSessionName", ""))
        try:
            issued = identities.issue(role, session, float(call.params.get("DurationSeconds", 3600)))
        except UnknownRole as error:
            return refusal(call, "AccessDenied", str(error))
        principal = identities.principal(issued.access_key)
        if principal is None:
            return forward(call)
        ends = datetime.fromtimestamp(issued.expires_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return _reply(
            "AssumeRole",
            f"<Credentials><AccessKeyId>{issued.access_key}</AccessKeyId><SecretAccessKey>{issued.secret_key}"
            f"</SecretAccessKey><SessionToken>{issued.token}</SessionToken><Expiration>{ends}</Expiration></Credentials>"
            f"<AssumedRoleUser><Arn>{escape(principal.arn)}</Arn><AssumedRoleId>{escape(principal.userid)}"
            "</AssumedRoleId></AssumedRoleUser>",
        )

    front.intercept("sts", "GetCallerIdentity", who)
    front.intercept("sts", "AssumeRole", assume)


def _reply(action: str, result: str) -> AwsReply:
    request_id = f"<ResponseMetadata><RequestId>{secrets.token_hex(16)}</RequestId></ResponseMetadata>"
    text = f'<{action}Response xmlns="{NAMESPACE}"><{action}Result>{result}</{action}Result>{request_id}</{action}Response>'
    return AwsReply(200, {"Content-Type": "text/xml"}, text.encode())
