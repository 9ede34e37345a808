#!/usr/bin/python3
# Spillway's user data: reads who this instance is, fetches the agent, checks it, starts it. Standard library, Python 3.9.
from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import os
import sys
import time
import urllib.parse
from typing import Any, Callable, TypeVar

T = TypeVar("T")

# fmt: off
MANIFEST = r'''{}'''
# fmt: on
ROOT = os.environ.get("SPILLWAY_ROOT", "").rstrip("/")
METADATA = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or "http://169.254.169.254"
ENDPOINT = (os.environ.get("AWS_ENDPOINT_URL") or "").rstrip("/")
UNIT = """[Unit]
Description=Spillway agent
After=network-online.target spillway-jobs.service
Wants=network-online.target spillway-jobs.service
StartLimitIntervalSec=0

[Service]
ExecStart=%s %s run
%sExecReload=/bin/kill -HUP $MAINPID
Restart=always
RestartSec=1
Delegate=yes
KillMode=process
TimeoutStopSec=20
OOMScoreAdjust=-900

[Install]
WantedBy=multi-user.target
"""
# Holds the control groups of what agents run, so that they outlive an agent: systemd starts none in a group that has others below.
JOBS_UNIT = """[Unit]
Description=Spillway jobs

[Service]
ExecStart=/bin/sleep infinity
Restart=always
Delegate=yes
"""


def call(method: str, url: str, headers: dict[str, str]) -> bytes:
    parts = urllib.parse.urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.netloc, timeout=20)
    try:
        connection.request(method, parts.path, headers=headers)
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        raise OSError("%s %s answered %d: %r" % (method, url, answer.status, body[:200]))
    return body


def retried(what: str, step: Callable[[], T]) -> T:
    for attempt in range(60):
        try:
            return step()
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            sys.stderr.write("spillway-boot: %s: %s\n" % (what, error))
            time.sleep(min(5, 0.2 * 2**attempt))
    sys.exit("spillway-boot: gave up on " + what)


def metadata(path: str) -> str:
    token = call("PUT", METADATA + "/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "300"}).decode()
    return call("GET", METADATA + "/latest/" + path, {"X-aws-ec2-metadata-token": token}).decode()


def fetch_agent(manifest: dict[str, Any]) -> bytes:
    role = metadata("meta-data/iam/security-credentials/").split()[0]
    keys = json.loads(metadata("meta-data/iam/security-credentials/" + role))
    region = manifest.get("home_region") or manifest["region"]
    key = manifest["agent"]["key"]
    if ENDPOINT:
        url = "%s/%s/%s" % (ENDPOINT, manifest["bucket"], key)
    else:
        url = "https://%s.s3.%s.amazonaws.com/%s" % (manifest["bucket"], region, key)
    parts = urllib.parse.urlsplit(url)
    now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    empty = hashlib.sha256(b"").hexdigest()
    headers = {"host": parts.netloc, "x-amz-content-sha256": empty, "x-amz-date": now}
    if keys.get("Token"):
        headers["x-amz-security-token"] = keys["Token"]
    names = ";".join(sorted(headers))
    lines = "".join("%s:%s\n" % (name, headers[name]) for name in sorted(headers))
    canonical = "\n".join(("GET", parts.path, "", lines, names, empty))
    scope = "%s/%s/s3/aws4_request" % (now[:8], region)
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    signature = ("AWS4" + keys["SecretAccessKey"]).encode()
    for part in (*scope.split("/"), "\n".join(("AWS4-HMAC-SHA256", now, scope, digest))):
        signature = hmac.new(signature, part.encode(), hashlib.sha256).digest()
    headers["authorization"] = "AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s" % (
        keys["AccessKeyId"],
        scope,
        names,
        signature.hex(),
    )
    data = call("GET", url, headers)
    if hashlib.sha256(data).hexdigest() != manifest["agent"]["sha256"]:
        raise ValueError("the agent in the bucket is not the one that the manifest names")
    return data


def write(path: str, data: bytes, mode: int) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    fd = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(fd)
    os.replace(path + ".new", path)


def start_service(agent: str) -> bool:
    names = ("SPILLWAY_ROOT", "AWS_ENDPOINT_URL", "AWS_EC2_METADATA_SERVICE_ENDPOINT")
    extra = "".join("Environment=%s=%s\n" % (name, os.environ[name]) for name in names if os.environ.get(name))
    unit = UNIT % (sys.executable or "/usr/bin/python3", agent, extra)
    for name, text in (("jobs", JOBS_UNIT), ("agent", unit)):
        write(ROOT + "/etc/systemd/system/spillway-%s.service" % name, text.encode(), 0o644)
    return os.system("systemctl daemon-reload && systemctl enable --now spillway-agent") == 0


def start_detached(agent: str) -> None:
    # This process becomes the agent: a second interpreter would cost a cold start 30 ms.
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")
    os.makedirs(ROOT + "/var/log", exist_ok=True)
    log = os.open(ROOT + "/var/log/spillway-agent.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open("/dev/null", os.O_RDONLY)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.closerange(3, 1024)
    sys.path.insert(0, agent)
    sys.argv = [agent, "run"]
    from agent.command import main

    sys.exit(main(["run"]))


def boot() -> None:
    manifest = json.loads(MANIFEST)
    index = retried("the launch index", lambda: metadata("meta-data/ami-launch-index"))
    agent = ROOT + "/opt/spillway/agent.pyz"
    write(agent, retried("the agent", lambda: fetch_agent(manifest)), 0o644)
    write(ROOT + "/var/lib/spillway/manifest.json", MANIFEST.encode(), 0o600)
    write(ROOT + "/var/lib/spillway/index", index.strip().encode(), 0o600)
    found = any(os.access(folder + "/systemctl", os.X_OK) for folder in os.environ.get("PATH", "").split(":"))
    if not (found and start_service(agent)):
        start_detached(agent)


if __name__ == "__main__":
    boot()
