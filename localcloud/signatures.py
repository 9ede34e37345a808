"""Checks signatures: SigV4 in headers and in presigned URLs, as AWS does.

botocore's own signer computes what the signature should be, so a hand-written signer elsewhere is checked against it on every
call. Keys that were not issued here belong to the developer, whose secret is unknown: they are not checked, except that a presigned
URL expires for everyone. A call without any key is anonymous, and nothing here is public.
"""

from __future__ import annotations

import calendar
import hashlib
import hmac
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials

from localcloud.calls import AwsCall, AwsReply, refusal
from localcloud.identity import Credentials, Identities

SKEW_MAX_S = 900.0
PRESIGNED_MAX_S = 604_800
STREAMING = ("STREAMING-", "UNSIGNED-PAYLOAD")


class SignatureGuard:
    """A guard of the front: refuses calls whose signature, session or time is wrong."""

    def __init__(self, identities: Identities, clock: Callable[[], float] = time.time) -> None:
        self._identities = identities
        self._clock = clock

    def check(self, call: AwsCall) -> AwsReply | None:
        """None, or AWS's refusal."""
        query = dict(parse_qsl(call.environ["QUERY_STRING"], keep_blank_values=True))
        if "X-Amz-Credential" not in query and "AWS4-HMAC-SHA256" not in call.environ.get("HTTP_AUTHORIZATION", ""):
            return _unsigned(call, query)
        if "X-Amz-Credential" in query:
            refused = self._presigned_in_time(call, query)
        else:
            refused = self._header_in_time(call)
        if refused is not None:
            return refused
        session = self._identities.session(call.access_key or "")
        return None if session is None else self._session_signed(call, session[0], query)

    def _presigned_in_time(self, call: AwsCall, query: dict[str, str]) -> AwsReply | None:
        begins = _epoch(query.get("X-Amz-Date", ""))
        try:
            lasts = int(query.get("X-Amz-Expires", ""))
        except ValueError:
            lasts = -1
        if begins is None or not 0 < lasts <= PRESIGNED_MAX_S:
            sentence = f"X-Amz-Date must be a time and X-Amz-Expires a number between 1 and {PRESIGNED_MAX_S}"
            return refusal(call, "AuthorizationQueryParametersError", sentence, 400)
        if self._clock() > begins + lasts:
            return refusal(call, "AccessDenied", "Request has expired")
        if begins > self._clock() + SKEW_MAX_S:
            return refusal(call, "AccessDenied", "Request is not yet valid")
        return None

    def _header_in_time(self, call: AwsCall) -> AwsReply | None:
        signed_at = _epoch(call.environ.get("HTTP_X_AMZ_DATE", ""))
        if signed_at is None or abs(signed_at - self._clock()) <= SKEW_MAX_S:
            return None  # without X-Amz-Date the signature cannot match either
        if call.service == "s3":
            sentence = "The difference between the request time and the current time is too large."
            return refusal(call, "RequestTimeTooSkewed", sentence)
        return refusal(call, "SignatureDoesNotMatch", "Signature expired: X-Amz-Date is too far from the current time")

    def _session_signed(self, call: AwsCall, credentials: Credentials, query: dict[str, str]) -> AwsReply | None:
        if self._clock() > credentials.expires_at:
            code = "ExpiredToken" if call.protocol in ("s3", "query", "ec2") else "ExpiredTokenException"
            return refusal(call, code, "The security token included in the request is expired", _status(call))
        token = query.get("X-Amz-Security-Token") or call.environ.get("HTTP_X_AMZ_SECURITY_TOKEN", "")
        if not hmac.compare_digest(token.encode(), credentials.token.encode()):
            code = "InvalidToken" if call.service == "s3" else "UnrecognizedClientException"
            return refusal(call, code, "The security token included in the request is invalid", _status(call))
        wrong = signature_problem(call, credentials, query)
        if wrong is None:
            return None
        sentence = "The request signature we calculated does not match the signature you provided."
        return refusal(call, "SignatureDoesNotMatch", f"{sentence} {wrong}")


def signature_problem(call: AwsCall, credentials: Credentials, query: dict[str, str]) -> str | None:
    """Why a call is not signed by these credentials; None when it is."""
    parts = _signature_parts(call, query)
    if parts is None:
        return "The Authorization header has no Credential, SignedHeaders and Signature."
    credential, signed_headers, given, timestamp = parts
    presigned = "X-Amz-Credential" in query
    headers = {name: call.environ.get(_environ_key(name), "") for name in signed_headers}
    if "host" not in headers:
        return "The host header must be signed."
    declared = call.environ.get("HTTP_X_AMZ_CONTENT_SHA256")
    if declared and not presigned:
        headers["x-amz-content-sha256"] = declared
        if not declared.startswith(STREAMING) and declared != hashlib.sha256(call.body).hexdigest():
            return "The body does not have the hash that x-amz-content-sha256 says."
    _, date, region, service, _ = credential.rsplit("/", 4)
    if not timestamp.startswith(date):
        return "The credential's date is not the request's."
    url = f"http://{call.environ.get('HTTP_HOST', '')}{call.environ['RAW_URI']}"
    if presigned:
        path, _, pairs = url.partition("?")
        url = path + "?" + "&".join(p for p in pairs.split("&") if not p.startswith("X-Amz-Signature="))
    request = AWSRequest(method=call.environ["REQUEST_METHOD"], url=url, headers=headers, data=call.body)
    request.context["timestamp"] = timestamp
    signer = _Signer if service != "s3" else _S3Signer
    auth = signer(ReadOnlyCredentials(credentials.access_key, credentials.secret_key, None), service, region)
    auth.presigned = presigned
    auth.names = signed_headers
    expected = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    return None if hmac.compare_digest(expected, given) else "Check your secret key and how the request is signed."


class _Exactly:
    """Signs the headers that the client says it signed, and no others."""

    presigned = False
    names: tuple[str, ...] = ()

    def headers_to_sign(self, request: AWSRequest) -> Any:
        from botocore.compat import HTTPHeaders

        headers = HTTPHeaders()
        for name in self.names:
            headers[name] = request.headers[name]
        return headers

    def payload(self, request: AWSRequest) -> str:
        return "UNSIGNED-PAYLOAD" if self.presigned else hashlib.sha256(request.data or b"").hexdigest()


class _Signer(_Exactly, SigV4Auth):  # type: ignore[misc]  # botocore has no types
    pass


class _S3Signer(_Exactly, S3SigV4Auth):  # type: ignore[misc]  # botocore has no types
    pass


def _signature_parts(call: AwsCall, query: dict[str, str]) -> tuple[str, tuple[str, ...], str, str] | None:
    """Credential, signed headers, signature and timestamp, from the query or the header."""
    if "X-Amz-Credential" in query:
        names = query.get("X-Amz-SignedHeaders", "").split(";")
        return query["X-Amz-Credential"], tuple(names), query.get("X-Amz-Signature", ""), query["X-Amz-Date"]
    fields: dict[str, str] = {}
    for item in call.environ["HTTP_AUTHORIZATION"].partition(" ")[2].split(","):
        name, _, value = item.strip().partition("=")
        fields[name] = value
    if not {"Credential", "SignedHeaders", "Signature"} <= fields.keys():
        return None
    names = fields["SignedHeaders"].split(";")
    return fields["Credential"], tuple(names), fields["Signature"], call.environ.get("HTTP_X_AMZ_DATE", "")


def _environ_key(header: str) -> str:
    key = header.upper().replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"


def _epoch(stamp: str) -> float | None:
    try:
        return float(calendar.timegm(time.strptime(stamp, "%Y%m%dT%H%M%SZ")))
    except ValueError:
        return None


def _status(call: AwsCall) -> int:
    return 403 if call.protocol in ("query", "rest-json") else 400


def _unsigned(call: AwsCall, query: dict[str, str]) -> AwsReply:
    if "Signature" in query or call.environ.get("HTTP_AUTHORIZATION", "").startswith("AWS "):
        sentence = "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256."
        return refusal(call, "InvalidRequest", sentence, 400)  # buckets made since June 2020 refuse SigV2
    if call.service == "s3":
        return refusal(call, "AccessDenied", "Access Denied")
    return refusal(call, "MissingAuthenticationToken", "Request is missing Authentication Token")
