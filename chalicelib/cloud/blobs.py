"""S3: the stage's one bucket."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from chalicelib.cloud.clients import Clients
from chalicelib.cloud.refusals import asking, code_of

PAGE_KEYS = 1000
UPLOAD_TYPE = "application/octet-stream"  # fixed, so that nobody's upload is served as a page
ABSENT = frozenset({"NoSuchKey", "404", "NotFound"})


class S3Blobs:
    """`ports.Blobs` on S3. URLs are signed locally (signature version 4), without a request."""

    def __init__(self, clients: Clients, region: str, bucket: str) -> None:
        self._clients = clients
        self._region = region
        self._bucket = bucket

    @property
    def _s3(self) -> Any:
        return self._clients.get("s3", self._region)

    def put(self, key: str, body: bytes, content_type: str = "application/json") -> None:
        with asking(f"S3 was asked to keep {key}"):
            self._s3.put_object(Bucket=self._bucket, Key=key, Body=body, ContentType=content_type)

    def get(self, key: str, start: int = 0) -> bytes | None:
        """The object from byte `start` on, b"" from beyond its end; None if it is not there.

        S3 says AccessDenied for a missing object to a role that may list only some prefixes; so it is listed before that is believed.
        """
        from botocore.exceptions import ClientError

        part = {"Range": f"bytes={start}-"} if start else {}
        with asking(f"S3 was asked for {key}"):
            try:
                body: bytes = self._s3.get_object(Bucket=self._bucket, Key=key, **part)["Body"].read()
            except ClientError as error:
                if code_of(error) in ABSENT or (code_of(error) == "AccessDenied" and not self.exists(key)):
                    return None
                if code_of(error) == "InvalidRange":
                    return b""
                raise
        return body

    def delete(self, key: str) -> None:
        with asking(f"S3 was asked to delete {key}"):
            self._s3.delete_object(Bucket=self._bucket, Key=key)

    def exists(self, key: str) -> bool:
        """By listing: HeadObject would answer 403 for what is not there, as roles may list only some prefixes of the bucket."""
        return any(found == key for found, _ in self.list(key, limit=1))

    def list(self, prefix: str, after: str = "", limit: int = 1000) -> list[tuple[str, int]]:
        found: list[tuple[str, int]] = []
        token: dict[str, str] = {"StartAfter": after} if after else {}
        with asking(f"S3 was asked for the objects under {prefix}"):
            while len(found) < limit:
                page = self._s3.list_objects_v2(
                    Bucket=self._bucket, Prefix=prefix, MaxKeys=min(PAGE_KEYS, limit - len(found)), **token
                )
                found += [(item["Key"], item["Size"]) for item in page.get("Contents", [])]
                if not page.get("IsTruncated"):
                    break
                token = {"ContinuationToken": page["NextContinuationToken"]}
        return found

    def get_url(self, key: str, expires_s: int, filename: str | None = None) -> str:
        params = {"Bucket": self._bucket, "Key": key}
        if filename:
            params["ResponseContentDisposition"] = f"attachment; filename*=UTF-8''{quote(filename, safe='')}"
        return str(self._s3.generate_presigned_url("get_object", Params=params, ExpiresIn=expires_s))

    def object_url(self, region: str, bucket: str, key: str, expires_s: int) -> str:
        s3 = self._clients.get("s3", region)  # a signature names the region, and S3 refuses another one's
        return str(s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=expires_s))

    def put_url(self, key: str, sha256_hex: str, expires_s: int) -> tuple[str, Mapping[str, str]]:
        """The headers are signed: a PUT without them is refused, and S3 refuses a body that does not match the checksum."""
        checksum = base64.b64encode(bytes.fromhex(sha256_hex)).decode()
        url = self._s3.generate_presigned_url(
            "put_object",
            Params={"Bucket": self._bucket, "Key": key, "ChecksumSHA256": checksum, "ContentType": UPLOAD_TYPE},
            ExpiresIn=expires_s,
        )
        return str(url), {"content-type": UPLOAD_TYPE, "x-amz-checksum-sha256": checksum}
