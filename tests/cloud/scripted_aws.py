"""A tiny HTTP server that answers as AWS would on a bad day: the real client code runs against it, nothing is patched."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Answer = tuple[int, str]


def ec2_error(code: str, message: str, status: int = 400) -> Answer:
    """EC2's XML for an error."""
    xml = "<Response><Errors><Error><Code>{}</Code><Message>{}</Message></Error></Errors><RequestID>r</RequestID></Response>"
    return status, xml.format(code, message)


def s3_error(code: str, status: int) -> Answer:
    """S3's XML for an error."""
    return status, f"<Error><Code>{code}</Code><Message>no</Message></Error>"


def ssm_error(code: str, message: str = "") -> Answer:
    """SSM's JSON for an error."""
    return 400, json.dumps({"__type": code, "message": message})


@contextmanager
def scripted_aws(
    answer: Callable[[str, dict[str, Any]], Answer],
) -> Iterator[tuple[str, list[tuple[str, dict[str, Any]]]]]:
    """(endpoint URL, requests so far); `answer(action, parameters)` gives status and body."""
    requests: list[tuple[str, dict[str, Any]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            if "X-Amz-Target" in self.headers:
                action, parameters = self.headers["X-Amz-Target"].split(".")[-1], json.loads(body)
            else:
                parameters = {name: values[0] for name, values in parse_qs(body).items()}
                action = parameters["Action"]
            self._answer(action, parameters)

        def do_GET(self) -> None:
            """S3's own way of asking."""
            query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
            self._answer("ListObjectsV2" if "list-type" in query else "GetObject", query)

        def _answer(self, action: str, parameters: dict[str, Any]) -> None:
            requests.append((action, parameters))
            status, text = answer(action, parameters)
            payload = text.encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requests
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
