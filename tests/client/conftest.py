"""A small HTTP server that speaks docs/contracts.md §7 from memory, so that client and CLI are tested without patches.

`server.jobs` may be changed by a test to move a job on; `server.fail` holds what goes wrong next: a status code, or
"drop" to accept the request, do the work and break the connection before the answer.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from spillway import Client

TOKEN = "spw_" + "t" * 43
KNOWN = {
    "queue_ttl_s",
    "market",
    "instance_types",
    "retry_on",
    *("pool", "command", "family", "name", "owner", "cpu", "memory_mib", "slots", "timeout_s", "priority"),
    *("max_attempts", "network", "untrusted", "environment", "inputs", "outputs", "result", "labels"),
    *("idempotency_key", "secrets", "disk_mib", "image", "archive", "notify", "folder"),
}


PLAN: dict[str, Any] = {
    "pool": "default",
    "at": 1000.0,
    "listed": 1,
    "backlog": {"seen": 3, "complete": True},
    "target": {"hosts": 2, "why": "3 jobs wait", "variables": {"queued": 3.0, "waiting_time_s": 12.5}},
    "actions": [
        {"kind": "drain", "subject": "host-1-0", "reason": "idle", "words": "Give host-1-0 no new work, because idle."}
    ],
    "supply": ["No c7i.large spot in us-east-1a until 14:03 UTC."],
    "waits": [{"job": "job-7", "reason": "all 1 hosts are taken"}],
    "waits_more": 2,
    "wake_at": 1060.0,
}


class Problem(Exception):
    def __init__(self, status: int, detail: str, errors: list[dict[str, str]] | None = None) -> None:
        self.status, self.detail, self.errors = status, detail, errors or []


SAMPLE = {
    "at": 1_770_000_000.0,
    "hosts": {"ready": 1},
    "jobs": {"pending": 12, "running": 2},
    "job_oldest_s": {"pending": 75.0, "running": 9.0},
    "target": {"hosts": 3, "why": "twelve wait", "variables": {"desired_hosts": 3.0}},
    "waiting_time_s": 180.0,
    "cost_usd_h": 0.09,
}


ROOT = Path(__file__).resolve().parents[2]  # the code beside these tests, whatever is installed


@dataclass
class Server:
    """What the control plane would hold."""

    url: str = ""
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    keys: dict[str, tuple[str, str]] = field(default_factory=dict)
    logs: dict[str, bytes] = field(default_factory=dict)
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)
    pools: dict[str, dict[str, Any]] = field(default_factory=lambda: {"default": {"hosts_min": 0, "hosts_max": 20}})
    defaults: dict[str, Any] = field(default_factory=dict)
    calendars: dict[str, dict[str, Any]] = field(default_factory=dict)
    warnings: list[dict[str, Any]] = field(default_factory=list)  # what changes of settings are answered with
    lookers: list[tuple[str, str, int]] = field(default_factory=list)
    if_match: str | None = None  # of the request that is being answered
    fail: deque[int | str] = field(default_factory=deque)
    requests: list[tuple[str, str]] = field(default_factory=list)
    log_piece_bytes: int = 1 << 20
    plan: dict[str, Any] = field(default_factory=lambda: dict(PLAN))
    # Called with a job at each look: how a test lets a job move on.
    on_look: Any = None

    def accept(self, spec: Any, path: str = "") -> str:
        dot = f"{path}." if path else ""
        if not isinstance(spec, dict):
            raise Problem(400, "A job should be an object.", [{"field": path, "message": "should be an object"}])
        errors = [{"field": dot + k, "message": "is not a field of a job"} for k in spec if k not in KNOWN]
        errors += [{"field": dot + k, "message": "is required"} for k in ("command", "timeout_s") if not spec.get(k)]
        if isinstance(spec.get("cpu"), float) and spec["cpu"] <= 0:
            errors.append({"field": dot + "cpu", "message": "should be more than 0"})
        if errors:
            raise Problem(400, "The job cannot be accepted.", errors)
        return json.dumps(spec, sort_keys=True)

    def add(self, spec: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        text = json.dumps({k: v for k, v in spec.items() if k != "idempotency_key"}, sort_keys=True)
        key = spec.get("idempotency_key")
        if key in self.keys:
            job_id, before = self.keys[key]
            if before != text:
                raise Problem(409, "This idempotency key was used for another job.")
            return self.jobs[job_id], False
        job_id = f"job-{len(self.jobs):026d}"
        self.jobs[job_id] = {
            "id": job_id,
            "pool": spec.get("pool", "default"),
            "state": "pending",
            "attempt": 0,
            "name": spec.get("name"),
            "submitted_at": 1000.0,
            "spec": spec,
            "from_the_future": True,
        }
        if key:
            self.keys[key] = (job_id, text)
        return self.jobs[job_id], True

    def look(self, job_id: str) -> dict[str, Any]:
        if job_id not in self.jobs:
            raise Problem(404, f"There is no job {job_id}.")
        if self.on_look:
            self.on_look(self.jobs[job_id])
        return self.jobs[job_id]

    def finish(self, job_id: str, state: str = "succeeded", **facts: Any) -> None:
        self.jobs[job_id] |= {"state": state, "started_at": 1001.0, "finished_at": 1003.5, **facts}

    # -- routes

    def answer(self, method: str, path: str, query: dict[str, str], body: bytes) -> tuple[int, Any]:
        parts = [part for part in path.split("/") if part]
        if parts == ["healthz"]:
            return 200, {"ok": True, "checks": {}}
        if parts[0] == "jobs":
            return self._jobs(method, parts[1:], query, body)
        if parts == ["uploads"]:
            asked = json.loads(body)
            present = asked["sha256"] in self.uploads
            url = None if present else f"{self.url}/s3/{asked['sha256']}?signature=x"
            return 200, {**asked, "present": present, "url": url, "headers": {"x-amz-meta-by": "client"}}
        if parts == ["settings", "story"]:
            return 200, {
                "items": [{"at": 4.0, "subject": "settings", "event": "setting", "reason": "linger_s: 60 → 5"}]
            }
        if parts == ["settings"]:
            if method == "PATCH":
                self.defaults = self._patched(self.defaults, json.loads(body))
            return 200, {
                "version": 4,
                "settings": self.defaults,
                "effective": {"linger_s": 60, "hosts_max": 20} | self.defaults,
                "changed_by": "root",
                "changed_at": 1000.0,
                "warnings": self.warnings,
            }
        if parts[0] == "pools":
            return self._pools(method, parts[1:], body)
        if parts[0] == "hosts" and parts[1] == "host-1-0":
            return 200, self._host(parts[2:])
        if parts[0] == "hosts":
            raise Problem(404, f"there is no host {parts[1]}")
        raise Problem(404, "There is no such route.")

    def _again(self, job: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
        if job["state"] == "pending":
            raise Problem(409, f"{job['id']} has not ended (it is pending)")
        again, _ = self.add({"command": "true", "timeout_s": 1, "idempotency_key": asked["idempotency_key"]})
        again |= {"retry_of": job["id"], "priority": asked.get("priority", 5)}
        return again

    def _bulk(self, asked: dict[str, Any]) -> dict[str, Any]:
        states = asked["filter"].get("states", ["pending"])
        ids = [job["id"] for job in self.jobs.values() if job["state"] in states]
        counted = {"action": asked["action"], "count": len(ids), "more": False, "jobs": ids, "failed": [], "left": 0}
        if asked.get("expect") is None:
            return counted | {"done": None}
        if asked["expect"] != len(ids):
            raise Problem(409, f"{len(ids)} jobs match now, and {asked['expect']} were expected: nothing was done")
        for job_id in ids:
            self.jobs[job_id]["cancel_requested"] = True
        return counted | {"done": ids}

    def _jobs(self, method: str, parts: list[str], query: dict[str, str], body: bytes) -> tuple[int, Any]:
        if method == "POST" and parts == ["batch"]:
            specs = json.loads(body)["jobs"]
            errors: list[dict[str, str]] = []
            for n, spec in enumerate(specs):
                try:
                    self.accept(spec, f"jobs[{n}]")
                except Problem as problem:
                    errors += problem.errors
            if errors:
                raise Problem(400, f"{len(errors)} fields of this batch are wrong; none was accepted.", errors)
            return 201, {"items": [self.add(spec)[0] for spec in specs]}
        if method == "POST" and not parts:
            spec = json.loads(body)
            self.accept(spec)
            job, fresh = self.add(spec)
            return 201 if fresh else 200, job
        if not parts and "ids" in query:
            ids = query["ids"].split(",")
            if len(ids) > 100:
                raise Problem(400, "At most 100 ids.")
            return 200, {"items": [self.look(i) for i in ids if i in self.jobs], "next": None}
        if not parts:
            start, limit = int(query.get("cursor", 0)), int(query["limit"])
            wanted = {name: value for name, value in query.items() if name in ("pool", "owner", "state")}
            found = [j for j in reversed(self.jobs.values()) if all(j.get(k) == v for k, v in wanted.items())]
            if label := query.get("label"):
                name, _, value = label.partition(":")
                found = [j for j in found if j["spec"].get("labels", {}).get(name) == value]
            more = str(start + limit) if start + limit < len(found) else None
            return 200, {"items": found[start : start + limit], "next": more}
        if method == "POST" and parts == ["bulk"]:
            return 200, self._bulk(json.loads(body))
        job = self.look(parts[0])
        if method == "PATCH" and not parts[1:]:
            job["priority"] = json.loads(body)["priority"]
            return 200, job
        if parts[1:] == ["retry"]:
            return 201, self._again(job, json.loads(body))
        if parts[1:] == ["log"]:
            return 200, self._log(job, int(query.get("from", 0)))
        if parts[1:] == ["outputs"]:
            files = self.files.get(job["id"], {})
            return 200, {
                "items": [
                    {"path": p, "bytes": len(b), "url": f"{self.url}/out/{job['id']}/{n}"}
                    for n, (p, b) in enumerate(files.items())
                ]
            }
        if parts[1:] == ["cancel"]:
            job["cancel_requested"] = True
            return 202, job
        if parts[1:] == ["story"]:
            return 200, {"items": [{"at": 1.0, "subject": job["id"], "event": "submit", "reason": "by HTTP"}]}
        if parts[1:] == ["why"]:
            told = [f"{job['id']} waits for a host.", "It is the first in the queue."]
            return 200, {"subject": job["id"], "state": job["state"], "at": 1.0, "sentences": told}
        return 200, job

    def _log(self, job: dict[str, Any], start: int) -> dict[str, Any]:
        whole = self.logs.get(job["id"], b"")
        piece = whole[start : start + self.log_piece_bytes]
        end = start + len(piece)
        final = job["state"] in ("succeeded", "failed")
        log = {"from": start, "next": end, "text": piece.decode(), "complete": final and end == len(whole)}
        return {**log, "cut": bool((job.get("log") or {}).get("cut"))}

    def _host(self, parts: list[str]) -> Any:
        if parts == ["story"]:
            return {"items": [{"at": 3.0, "subject": "host-1-0", "event": "ready", "reason": "hello"}]}
        if parts == ["why"]:
            return {"subject": "host-1-0", "state": None, "at": 1.0, "sentences": ["host-1-0 is over."]}
        if parts[:1] == ["installs"]:
            text = f"installed {parts[1]}\n"
            return {"from": 0, "next": len(text), "text": text, "complete": True, "cut": False}
        installs = [
            {"version": v, "name": "setup.sh", "state": "ready", "at": at} for v, at in (("aa1", 2.0), ("bb2", 1.0))
        ]
        ready = {"id": "host-1-0", "pool": "default", "state": "ready", "instance_id": "i-1", "launched_at": 1.0}
        return {**ready, "installs": installs}

    def _pools(self, method: str, parts: list[str], body: bytes) -> tuple[int, Any]:
        if not parts:
            return 200, {"items": [{"name": name, **pool} for name, pool in self.pools.items()]}
        if self.if_match not in (None, '"7"'):
            raise Problem(412, "the pool is at version 7; read it and decide again")
        if method == "PUT" and len(parts) == 1:
            self.pools[parts[0]] = json.loads(body)
        if parts[0] not in self.pools:
            raise Problem(404, f"There is no pool {parts[0]}.")
        if method == "PATCH":
            self.pools[parts[0]] = self._patched(self.pools[parts[0]], json.loads(body))
        if parts[1:2] == ["calendar"]:
            return self._calendar(method, parts, body)
        if parts[1:] == ["interest"]:
            asked = json.loads(body)
            self.lookers.append((parts[0], asked["viewer"], asked["seconds"]))
            return 202, {}
        if method == "POST" and parts[1:] == ["kill"] and not json.loads(body)["force"]:
            raise Problem(409, "2 jobs wait in pool default, and its last hosts would go")
        if method == "POST" and parts[1:] in (["restart"], ["kill"], ["start"]):
            self.pools[parts[0]] |= {
                "restart": {"generation": 1},
                "kill": {"killed": True},
                "start": {"killed": False},
            }[parts[1]]
        if parts[1:] == ["hosts"]:
            return 200, {"items": [self._host([])]}
        if parts[1:] == ["plan"]:
            return 200, self.plan
        if parts[1:] == ["samples"]:
            return 200, {"items": [SAMPLE]}
        if parts[1:] == ["story"]:
            return 200, {"items": [{"at": 2.0, "subject": f"pool/{parts[0]}", "event": "refused", "reason": "full"}]}
        if parts[1:] == ["invariants"]:
            return 200, {"ok": False, "broken": ["host-1-0 has 3 of 2 slots"]}
        said = self.pools[parts[0]]
        origins = dict.fromkeys(said, "own") | {
            "slo_wait_s": "stage",
            "linger_s": "own" if "linger_s" in said else "default",
        }
        effective = {"linger_s": 60, "slo_wait_s": 15, "hosts_min": 0, "hosts_max": 20, **said}
        return 200, {
            "name": parts[0],
            "version": 7,
            **effective,
            "settings": said,
            "origins": origins,
            "calendar": list(self.calendars.get(parts[0], {}).values()),
            "scaling": {"target": 3, "why": "12 jobs wait"},
            "interest": 5,
            **({"warnings": self.warnings} if method in ("PUT", "PATCH") else {}),
        }

    def _patched(self, said: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
        wrong = [{"field": key, "message": "is not a field that is known here"} for key in patch if key == "linger"]
        if wrong:
            raise Problem(400, "linger: is not a field that is known here", wrong)
        return {key: value for key, value in (said | patch).items() if value is not None}

    def _calendar(self, method: str, parts: list[str], body: bytes) -> tuple[int, Any]:
        booked = self.calendars.setdefault(parts[0], {})
        if method == "PUT":
            asked = json.loads(body)
            times = {name: datetime.fromisoformat(asked[name]).timestamp() for name in ("starts_at", "ends_at")}
            booked[parts[2]] = {"id": parts[2], **asked, **times}
            return 200, booked[parts[2]]
        if method == "DELETE" and booked.pop(parts[2], None) is None:
            raise Problem(404, f"pool {parts[0]} has no booking {parts[2]}")
        return 200, {"items": list(booked.values())}


def handler_for(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None:
            pass

        def serve(self) -> None:
            url = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            server.requests.append((self.command, self.path))
            if url.path.startswith(("/s3/", "/out/")):
                self.storage(url.path, body)
                return
            failure = server.fail.popleft() if server.fail else None
            if isinstance(failure, int):
                self.reply(failure, {"message": "on purpose"})
                return
            if url.path != "/healthz" and self.headers.get("authorization") != f"Bearer {TOKEN}":
                self.reply(401 if "authorization" not in self.headers else 403, {"Message": "Unauthorized"})
                return
            server.if_match = self.headers.get("if-match")
            query = {k: v[0] for k, v in parse_qs(url.query).items()}
            try:
                status, document = server.answer(self.command, url.path, query, body)
            except Problem as problem:
                status = problem.status
                document = {"type": "about:blank", "title": "No", "status": status, "detail": problem.detail}
                document["errors"] = problem.errors
            if failure == "drop":
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            self.reply(status, document)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = serve

        def storage(self, path: str, body: bytes) -> None:
            if "authorization" in self.headers:  # as S3: a signed URL and a token are one proof too many
                self.reply(400, {})
            elif self.command == "PUT":
                server.uploads[path.rpartition("/")[2]] = body
                self.reply(200, {})
            else:
                _, _, job_id, number = path.split("/")
                self.raw(200, list(server.files[job_id].values())[int(number)], "application/octet-stream")

        def reply(self, status: int, document: Any) -> None:
            self.raw(status, json.dumps(document).encode(), "application/json")

        def raw(self, status: int, content: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    return Handler


@pytest.fixture
def server() -> Iterator[Server]:
    """A control plane in memory, on a free port of 127.0.0.1."""
    state = Server()
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler_for(state))
    http.daemon_threads = True
    http.handle_error = lambda *_: None  # type: ignore[method-assign]  # "drop" closes under the handler
    state.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    http.shutdown()
    http.server_close()
    thread.join()


@pytest.fixture
def spillway(server: Server) -> Iterator[Client]:
    """A client of it."""
    with Client(server.url, TOKEN) as client:
        yield client


@dataclass
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def run(server: Server, tmp_path: Path) -> Any:
    """Runs `spillway …` as a process of its own, in an empty folder, against the server: `run("status", "--json")`."""

    def call(*args: str, environ: dict[str, str] | None = None, cwd: Path | None = None) -> Done:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("SPILLWAY_")}
        here = {"SPILLWAY_URL": server.url, "SPILLWAY_TOKEN": TOKEN, "COLUMNS": "200"}
        done = subprocess.run(
            [sys.executable, "-c", "from spillway.cli import main; main()", *args],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=cwd or tmp_path,
            env=clean | {"PYTHONPATH": str(ROOT)} | (here if environ is None else environ),
        )
        return Done(done.returncode, done.stdout, done.stderr)

    return call
