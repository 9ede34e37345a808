"""Signed URLs as AWS would get them: moto believes any signature, so what is signed is looked at here."""

from __future__ import annotations

import hashlib
from urllib.parse import parse_qs, urlsplit

from worlds import a_session

from chalicelib.cloud.aws import aws_cloud
from chalicelib.cloud.ports import Blobs
from chalicelib.config import Settings

SHA256 = hashlib.sha256(b"body").hexdigest()


def blobs_at(endpoint_url: str | None) -> Blobs:
    settings = Settings(stage="dev", region="eu-central-1", bucket="a-bucket")
    return aws_cloud(settings, endpoint_url=endpoint_url, session=a_session()).blobs


def query_of(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def test_an_upload_url_signs_exactly_the_headers_that_it_comes_with():
    """A header more and plain HTTP clients fail; the checksum less and anything can be uploaded under any hash."""
    url, headers = blobs_at(None).put_url("uploads/x", SHA256, 60)
    query = query_of(url)
    assert query["X-Amz-SignedHeaders"].split(";") == sorted(["host", *headers])
    assert set(query) == {
        f"X-Amz-{n}" for n in ("Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature")
    }
    assert (query["X-Amz-Algorithm"], query["X-Amz-Expires"]) == ("AWS4-HMAC-SHA256", "60")


def test_a_download_url_needs_no_header():
    """`curl URL` is enough; the file's name is part of what is signed."""
    query = query_of(blobs_at(None).get_url("hosts/x", 60, "Übung 1.html"))
    assert query["X-Amz-SignedHeaders"] == "host"
    assert query["response-content-disposition"] == "attachment; filename*=UTF-8''%C3%9Cbung%201.html"


def test_another_buckets_url_is_signed_for_its_own_region():
    """S3 refuses a signature that names another region than the bucket's."""
    url = blobs_at(None).object_url("us-west-2", "theirs", "a/job.tar.gz", 60)
    assert url.startswith("https://theirs.s3.us-west-2.amazonaws.com/a/job.tar.gz?")
    assert "/us-west-2/s3/aws4_request" in query_of(url)["X-Amz-Credential"]


def test_the_bucket_is_in_the_name_on_aws_and_in_the_path_elsewhere():
    """AWS is leaving path style; a server on 127.0.0.1 has no name for each bucket."""
    assert blobs_at(None).get_url("a/k", 60).startswith("https://a-bucket.s3.eu-central-1.amazonaws.com/a/k?")
    assert blobs_at("http://127.0.0.1:1").get_url("a/k", 60).startswith("http://127.0.0.1:1/a-bucket/a/k?")
