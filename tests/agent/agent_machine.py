"""A machine for the real agent: moto's AWS, a metadata service, a root folder, and the built zip file as a process."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3

from agent import minder
from localcloud.instances.peers import is_a_jobs

REGION = "us-east-1"
ROLE_ID = "AROATESTROLE"


class Web:
    """An HTTP server on a free port; `answer(method, path, headers) -> (status, body)`. `fenced`: not for the users of jobs."""

    def __init__(self, answer, fenced=False):
        self.hits = []
        self.refused = 0
        self.fenced = fenced

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(handler):
                if self.fenced and is_a_jobs(handler.request.getsockname(), handler.client_address):
                    self.refused += 1
                    handler.close_connection = True
                    return
                handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
                self.hits.append(handler.path)
                status, body = answer(handler.command, handler.path, handler.headers)
                handler.send_response(status)
                handler.send_header("Content-Length", str(len(body)))
                handler.end_headers()
                handler.wfile.write(body)

            do_PUT = do_GET

            def log_message(handler, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()


class Machine:
    """One instance. `boot()` runs the agent; `pings()` is everything that came on the heartbeat queue."""

    def __init__(self, aws_url, agent, root, *, settings=None, assignments=(), inbox=False):
        self.root = Path(root)
        self.aws_url = aws_url
        self.agent = agent
        self.instance_id = "i-" + uuid.uuid4().hex[:17]
        self.userid = f"{ROLE_ID}:{self.instance_id}"
        self.spot_action = None
        self.rebalance = None
        self.unauthorised = 0
        self.metadata = Web(self._metadata, fenced=True)
        name = uuid.uuid4().hex[:12]
        self.s3, self.sqs, self.dynamodb = (self._client(service) for service in ("s3", "sqs", "dynamodb"))
        self.bucket = "bucket-" + name
        self.s3.create_bucket(Bucket=self.bucket)
        self.queue = self.sqs.create_queue(QueueName="heartbeats-" + name)["QueueUrl"]
        self.table = "claims-" + name
        self.dynamodb.create_table(
            TableName=self.table,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "host", "KeyType": "HASH"}, {"AttributeName": "attempt", "KeyType": "RANGE"}],
            AttributeDefinitions=[
                {"AttributeName": "host", "AttributeType": "S"},
                {"AttributeName": "attempt", "AttributeType": "S"},
            ],
        )
        self.manifest = {
            "v": 1,
            "stage": "test",
            "pool": "default",
            "launch": "launch-1",
            "region": REGION,
            "home_region": REGION,
            "role_id": ROLE_ID,
            "generation": 1,
            "bucket": self.bucket,
            "heartbeats_url": self.queue,
            "claims_table": self.table,
            "agent": {"key": f"agent/{agent.sha256}.pyz", "sha256": agent.sha256},
            "settings": {"slots": 2, "ping_every_s": 1, **(settings or {})},
            "hosts": [{"host": "host-1-0", "assignments": list(assignments), "inbox": inbox}],
        }
        self.environment = {
            "PATH": f"{self.root}/bin:/usr/bin:/bin",
            "SPILLWAY_ROOT": str(self.root),
            "AWS_ENDPOINT_URL": aws_url,
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": self.metadata.url,
        }
        shutdown = self.root / "bin" / "shutdown"
        shutdown.parent.mkdir(parents=True)
        shutdown.write_text(f'#!/bin/sh\necho "$@" > {self.root}/shutdown\n')
        shutdown.chmod(0o755)
        self.process = None
        self._pings = []
        self.messages = []

    def _client(self, service):
        return boto3.client(
            service, REGION, endpoint_url=self.aws_url, aws_access_key_id="test", aws_secret_access_key="test"
        )

    def _metadata(self, method, path, headers):
        if (method, path) == ("PUT", "/latest/api/token"):
            return 200, b"the-token"
        if headers.get("X-aws-ec2-metadata-token") != "the-token":
            self.unauthorised += 1
            return 401, b""
        answers = {
            "/latest/meta-data/instance-id": self.instance_id,
            "/latest/meta-data/ami-launch-index": "0",
            "/latest/meta-data/iam/security-credentials/": "spillway-test-host",
            "/latest/meta-data/iam/security-credentials/spillway-test-host": json.dumps(
                {
                    "AccessKeyId": "AKIATEST",
                    "SecretAccessKey": "secret",
                    "Token": "token",
                    "Expiration": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600)),
                }
            ),
            "/latest/meta-data/spot/instance-action": self.spot_action,
            "/latest/meta-data/events/recommendations/rebalance": self.rebalance,
        }
        found = answers.get(path)
        return (404, b"") if found is None else (200, found.encode())

    # --- what the control plane does

    def write_inbox(self, pass_no, assignments=(), cancel=(), stop=None, **more):
        document = {
            "v": 1,
            "pass_no": pass_no,
            "assignments": list(assignments),
            "cancel": list(cancel),
            "stop": {"reason": stop} if stop else None,
            **more,
        }
        self.s3.put_object(Bucket=self.bucket, Key=f"inbox/{self.userid}/inbox.json", Body=json.dumps(document))

    def claim_first(self, job, attempt=1, by="control"):
        item = {"host": {"S": self.userid}, "attempt": {"S": f"{job}#{attempt}"}, "by": {"S": by}}
        self.dynamodb.put_item(TableName=self.table, Item=item)

    def claims(self):
        return {item["attempt"]["S"]: item["by"]["S"] for item in self.dynamodb.scan(TableName=self.table)["Items"]}

    def put_input(self, data):
        """Store an input; returns (sha256, signed address)."""
        sha256 = hashlib.sha256(data).hexdigest()
        self.s3.put_object(Bucket=self.bucket, Key="uploads/" + sha256, Body=data)
        wanted = {"Bucket": self.bucket, "Key": "uploads/" + sha256}
        return sha256, self.s3.generate_presigned_url("get_object", Params=wanted, ExpiresIn=600)

    def log(self, job, attempt=1):
        prefix = f"hosts/{self.userid}/{job}/{attempt}/log/"
        listing = self.s3.list_objects_v2(Bucket=self.bucket, Prefix=prefix).get("Contents", [])
        data = b""
        for key in sorted(entry["Key"] for entry in listing):
            assert int(key[len(prefix) :]) == len(data), "chunks are named by their first byte"
            data += self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        return data

    # --- the machine

    def install(self):
        """What boot.py leaves on the disk."""
        opt, state = self.root / "opt/spillway", self.root / "var/lib/spillway"
        opt.mkdir(parents=True, exist_ok=True)
        state.mkdir(parents=True, exist_ok=True)
        (opt / "agent.pyz").write_bytes(self.agent.path.read_bytes())
        (state / "manifest.json").write_text(json.dumps(self.manifest))
        (state / "index").write_text("0")

    def start(self, *within, python=sys.executable):
        """Run the agent; `within` is a command that runs it, `python` the interpreter."""
        self.install()
        with open(self.root / "agent.log", "ab") as log:
            self.process = subprocess.Popen(
                [*within, python, "-W", "error::SyntaxWarning", str(self.root / "opt/spillway/agent.pyz"), "run"],
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        return self

    def ring(self):
        agent = str(self.root / "opt/spillway/agent.pyz")
        return subprocess.run([sys.executable, agent, "ring"], env=self.environment, capture_output=True, text=True)

    def kill(self, number=signal.SIGKILL):
        self.process.send_signal(number)
        self.process.wait(30)

    def close(self):
        if self.process is not None and self.process.poll() is None:
            try:
                self.kill(signal.SIGTERM)  # so that it takes its control groups away
            except subprocess.TimeoutExpired:
                self.kill()
        for path in self.root.glob("var/lib/spillway/work/*/minder"):  # of an agent that nobody came after
            pid = minder.find(str(path))
            if pid:
                os.killpg(pid, signal.SIGKILL)
        self.metadata.close()
        for client in (self.s3, self.sqs, self.dynamodb):
            client.close()

    # --- what is observed

    def poll(self, wait_s=1):
        found = self.sqs.receive_message(
            QueueUrl=self.queue, MaxNumberOfMessages=10, WaitTimeSeconds=wait_s, AttributeNames=["All"]
        )
        for message in found.get("Messages", []):
            body = json.loads(message["Body"])
            self.messages.append(body)
            self._pings += body["pings"]
            self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])

    def pings(self, kind=None, job=None):
        return [p for p in self._pings if kind in (None, p["kind"]) and job in (None, p.get("job"))]

    def wait(self, kind, job=None, count=1, timeout_s=30):
        """The `count`-th ping of that kind, as soon as it came."""
        give_up = time.monotonic() + timeout_s
        while len(self.pings(kind, job)) < count:
            assert time.monotonic() < give_up, f"no {kind} of {job}; {self._pings}; {self.said()}"
            self.poll()
        return self.pings(kind, job)[count - 1]

    def said(self):
        path = self.root / "agent.log"
        return path.read_text() if path.exists() else ""

    def until(self, true, timeout_s=20):
        give_up = time.monotonic() + timeout_s
        while not true():
            assert time.monotonic() < give_up, f"did not come true; {self.said()}"
            time.sleep(0.02)


def a_job(job="job-1", command="true", **fields):
    """An assignment that asks for little."""
    return {"job": job, "attempt": 1, "command": command, "cpu": 1.0, "memory_mib": 128, "timeout_s": 20, **fields}


def processes_with(word):
    """Command lines of this machine that hold `word`."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if word.encode() in line:
            found.append(line)
    return found
