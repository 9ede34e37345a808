"""AWS Signature Version 4, as a pure function over one request.

A signature is an HMAC chain (secret, date, region, service) over a canonical form of the request. S3 differs from every
other service in three ways: the path is encoded once instead of twice, it is not normalised ("a//b" and "a/../b" are
keys), and the payload's hash travels as the header `x-amz-content-sha256`.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import Iterable, Mapping, NamedTuple, Optional
from urllib.parse import quote

ALGORITHM = "AWS4-HMAC-SHA256"
# Headers that proxies and HTTP libraries change on the way are never signed.
UNSIGNED = frozenset(("authorization", "connection", "expect", "transfer-encoding", "user-agent", "x-amzn-trace-id"))


class Credentials(NamedTuple):
    """Keys of the instance's role. `expires_at` is epoch seconds; `token` is empty for keys that never end."""

    access_key: str
    secret_key: str
    token: str
    expires_at: float


def payload_hash(body: bytes) -> str:
    """The body's SHA-256 in hex."""
    return hashlib.sha256(body).hexdigest()


def canonical_path(path: str, service: str) -> str:
    """The path as it is signed. `path` is what travels on the wire, percent-encoded already."""
    if service == "s3":
        return path or "/"
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            if parts:
                parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    normal = "/" + "/".join(parts)
    if parts and path.endswith("/"):
        normal += "/"
    return quote(normal, safe="/~")


def canonical_query(query: Iterable[tuple[str, str]]) -> str:
    """Decoded (name, value) pairs, encoded and in order of their encoded form."""
    pairs = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in query)
    return "&".join(name + "=" + value for name, value in pairs)


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def sign(
    method: str,
    host: str,
    path: str,
    query: Iterable[tuple[str, str]],
    headers: Mapping[str, str],
    body: bytes,
    credentials: Credentials,
    service: str,
    region: str,
    now: float,
    body_sha256: Optional[str] = None,
) -> dict[str, str]:
    """All headers to send: the given ones and `Host`, `X-Amz-Date`, `Authorization` and so on.

    `path` is percent-encoded as it goes on the wire, `query` is decoded, `now` is epoch seconds.
    """
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    digest = body_sha256 or payload_hash(body)
    signed = {name: value for name, value in headers.items() if name.lower() != "host"}
    signed["Host"] = host
    signed["X-Amz-Date"] = stamp
    if service == "s3":
        signed["X-Amz-Content-SHA256"] = digest
    if credentials.token:
        signed["X-Amz-Security-Token"] = credentials.token

    lines = sorted(
        (name.lower(), " ".join(value.split())) for name, value in signed.items() if name.lower() not in UNSIGNED
    )
    names = ";".join(name for name, _ in lines)
    canonical = "\n".join(
        (
            method,
            canonical_path(path, service),
            canonical_query(query),
            "".join(name + ":" + value + "\n" for name, value in lines),
            names,
            digest,
        )
    )
    scope = "/".join((stamp[:8], region, service, "aws4_request"))
    to_sign = "\n".join((ALGORITHM, stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()))
    key = ("AWS4" + credentials.secret_key).encode()
    for part in (stamp[:8], region, service, "aws4_request"):
        key = _hmac(key, part)
    signed["Authorization"] = "%s Credential=%s/%s, SignedHeaders=%s, Signature=%s" % (
        ALGORITHM,
        credentials.access_key,
        scope,
        names,
        _hmac(key, to_sign).hex(),
    )
    return signed
