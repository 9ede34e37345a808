"""Webhooks, and the queue and bucket of somebody else: what is really sent, and where it is never sent."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from worlds import REGION, AwsWorld, a_client, aws_world

from chalicelib.cloud.clients import Clients
from chalicelib.cloud.outside import AwsOutside
from chalicelib.cloud.requests import Requests
from chalicelib.config import Settings
from chalicelib.errors import CloudUnavailable


class Server(ThreadingHTTPServer):
    """Answers `status`, and remembers what it was asked."""

    def __init__(self) -> None:
        self.status, self.calls = 200, list[tuple[str, dict[str, str], bytes]]()
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.calls.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        self.send_response(self.server.status)
        self.send_header("location", "http://127.0.0.1:1/")
        self.send_header("content-length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def outside(*own: str, leads_to: str = "127.0.0.1") -> AwsOutside:
    settings = Settings(stage="dev", webhook_hosts=own)
    return AwsOutside(Clients(Requests()), settings, lambda host, port: [leads_to])


def test_a_webhook_gets_the_body_and_its_answers_status_counts(server: Server) -> None:
    """Path, query and headers as given; a redirection is an answer like any other and is not followed."""
    server.status = 302
    url = f"http://own.test:{server.port}/a/b?c=1"
    assert outside("own.test").post(url, b'{"a": 1}', {"x-spillway-delivery": "d"}) == 302
    ((path, headers, body),) = server.calls
    assert (path, body) == ("/a/b?c=1", b'{"a": 1}')
    assert (headers["host"], headers["x-spillway-delivery"]) == (f"own.test:{server.port}", "d")


def test_a_public_name_that_leads_inside_is_not_called(server: Server) -> None:
    """Judged again when it is called, and by every address of the name: DNS belongs to whoever submitted the job."""
    for address in ("127.0.0.1", "169.254.169.254", "10.0.0.1", "::1"):
        with pytest.raises(CloudUnavailable, match="no address of the public internet"):
            outside(leads_to=address).post("https://rebound.example.org/", b"{}", {})
    with pytest.raises(CloudUnavailable, match="https"):
        outside().post(f"http://own.test:{server.port}/", b"{}", {})
    assert server.calls == []


def test_who_does_not_answer_is_told_in_words() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(CloudUnavailable, match=r"own.test does not answer: .*refused"):
        outside("own.test").post(f"http://own.test:{port}/", b"{}", {})


def test_who_answers_byte_by_byte_is_not_waited_for_for_ever() -> None:
    """Every byte would start the patience of a socket anew: the whole call has an end."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        stop = threading.Event()

        def drip() -> None:
            taken, _ = listening.accept()
            with taken, contextlib.suppress(OSError):
                while not stop.wait(0.02):
                    taken.sendall(b"H")

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        settings = Settings(stage="dev", webhook_hosts=("own.test",))
        there = AwsOutside(Clients(Requests()), settings, lambda host, port: ["127.0.0.1"], patience_s=0.3)
        with pytest.raises(CloudUnavailable, match="does not answer in time"):
            there.post(f"http://own.test:{port}/", b"{}", {})
        stop.set()
        thread.join(5)


def test_a_certificate_must_be_the_names(server: Server) -> None:
    """What answers without one, or with one that nobody vouches for, is not told anything."""
    with pytest.raises(CloudUnavailable, match="does not answer") as caught:
        outside("own.test").post(f"https://own.test:{server.port}/", b"{}", {})
    assert isinstance(caught.value.__cause__, ssl.SSLError)
    assert server.calls == []


@pytest.fixture(scope="module")
def aws(moto_url: str) -> AwsWorld:
    return aws_world("moto", moto_url)


def test_messages_and_objects_arrive_at_others(aws: AwsWorld) -> None:
    """A queue and a bucket that are not the stage's; a copy of what is not there says so."""
    sqs, s3 = a_client("sqs", aws.endpoint_url), a_client("s3", aws.endpoint_url)
    url = sqs.create_queue(QueueName=f"{aws.stage}-results")["QueueUrl"]
    bucket = f"{aws.stage}-grading"
    s3.create_bucket(Bucket=bucket)
    there = aws.cloud.outside
    there.send(url, {"jobId": "7", "data": {"message": "é\ud800"}})
    (message,) = sqs.receive_message(QueueUrl=url)["Messages"]
    assert json.loads(message["Body"]) == {"jobId": "7", "data": {"message": "é\ud800"}}
    there.put(REGION, bucket, "job_7/results.json", b"{}", "application/json")
    aws.cloud.blobs.put("hosts/x/out/archive.tar.gz", b"all", "application/gzip")
    assert there.copy("hosts/x/out/archive.tar.gz", REGION, bucket, "job_7/archive.tar.gz")
    assert not there.copy("hosts/x/out/none", REGION, bucket, "job_7/none")
    kept = {
        o["Key"]: s3.get_object(Bucket=bucket, Key=o["Key"])["Body"].read()
        for o in s3.list_objects_v2(Bucket=bucket)["Contents"]
    }
    assert kept == {"job_7/results.json": b"{}", "job_7/archive.tar.gz": b"all"}
    with pytest.raises(CloudUnavailable):
        there.put(REGION, f"{bucket}-none", "k", b"", "text/plain")
