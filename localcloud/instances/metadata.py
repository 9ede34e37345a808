"""The instance metadata service, version 2 only: one port for each machine, one thread for all of them.

Connections of users that jobs run as are broken off (peers.py).

All machines share the host's network, so the port is what tells them apart: a machine knows only its own
(AWS_EC2_METADATA_SERVICE_ENDPOINT). The tree is made anew for each request from moto's record of the instance, so tags, role
and interruption are always the present ones.
"""

import asyncio
import json
import logging
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any

from localcloud.identity import ACCOUNT_ID, Credentials, Identities
from localcloud.instances.events import utc
from localcloud.instances.machine import Machine
from localcloud.instances.peers import is_a_jobs

log = logging.getLogger("localcloud.metadata")

TTL_HEADER = "x-aws-ec2-metadata-token-ttl-seconds"
TOKEN_HEADER = "x-aws-ec2-metadata-token"  # noqa: S105 - a header's name
TTL_MAX_S = 21_600
HEAD_MAX_BYTES = 16_384
IDLE_S = 60.0
ROTATE_BEFORE_S = 900.0  # new credentials are there well before the old ones end
PHRASES = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
}
Leaf = Callable[[], str | bytes]
Reply = tuple[int, bytes, dict[str, str]]


class MetadataService:
    """Open a port for each machine that is to boot, close it when the machine is gone."""

    def __init__(self, identities: Identities, credentials_s: float) -> None:
        self._identities = identities
        self._credentials_s = credentials_s
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="metadata", daemon=True)
        self._servers: dict[str, asyncio.Server] = {}
        self._connections: set[asyncio.StreamWriter] = set()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Close all ports and connections."""
        if not self._thread.is_alive():
            return
        asyncio.run_coroutine_threadsafe(self._close_all(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def open(self, machine: Machine) -> int:
        """Serve `machine` on a free port, and answer the port."""
        return asyncio.run_coroutine_threadsafe(self._open(machine), self._loop).result(10)

    def close(self, machine: Machine) -> None:
        """Close the port of `machine`; does not wait."""
        server = self._servers.pop(machine.id, None)
        if server is not None:
            self._loop.call_soon_threadsafe(server.close)

    async def _open(self, machine: Machine) -> int:
        tokens: dict[str, float] = {}

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._serve(machine, tokens, reader, writer)

        server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=HEAD_MAX_BYTES)
        self._servers[machine.id] = server
        return int(server.sockets[0].getsockname()[1])

    async def _close_all(self) -> None:
        for server in self._servers.values():
            server.close()
        for writer in list(self._connections):
            writer.close()
        await asyncio.sleep(0)

    async def _serve(
        self, machine: Machine, tokens: dict[str, float], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._connections.add(writer)
        try:
            if is_a_jobs(writer.get_extra_info("sockname"), writer.get_extra_info("peername")):
                return
            while True:
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), IDLE_S)
                method, target, headers = _parsed(head)
                if length := int(headers.get("content-length", "0")):
                    await asyncio.wait_for(reader.readexactly(min(length, HEAD_MAX_BYTES)), IDLE_S)
                status, body, extra = self._answer(machine, tokens, method, target, headers)
                keep = headers.get("connection", "").lower() != "close" and not target.startswith("!")
                writer.write(_head(status, body, extra, keep) + (body if method != "HEAD" else b""))
                await writer.drain()
                if not keep:
                    return
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError, ConnectionError, ValueError):
            return
        finally:
            self._connections.discard(writer)
            writer.close()

    def _answer(
        self, machine: Machine, tokens: dict[str, float], method: str, target: str, headers: dict[str, str]
    ) -> Reply:
        path = target.partition("?")[0]
        if "x-forwarded-for" in headers or machine.instance.metadata_options.http_endpoint == "disabled":
            return 403, b"", {}
        now = time.monotonic()
        if method == "PUT":
            return _new_token(tokens, path, headers, now)
        if method not in ("GET", "HEAD"):
            return 405, b"", {}
        if tokens.get(headers.get(TOKEN_HEADER, ""), 0.0) <= now:
            return 401, b"", {}
        try:
            found = _resolve(self._tree(machine), path)
        except Exception:
            log.exception("metadata failed path=%s instance=%s", path, machine.id)
            return 404, b"", {}
        return (404, b"", {}) if found is None else (200, found, {})

    # The tree: folders are dicts, what is to be read is a function

    def _tree(self, machine: Machine) -> dict[str, Any]:
        latest: dict[str, Any] = {
            "dynamic": {"instance-identity": {"document": lambda: _identity(machine)}},
            "meta-data": self._meta_data(machine),
        }
        if machine.instance.user_data:
            latest["user-data"] = lambda: machine.user_data
        return latest

    def _meta_data(self, machine: Machine) -> dict[str, Any]:
        instance = machine.instance
        tree: dict[str, Any] = {
            "ami-id": lambda: instance.image_id,
            "ami-launch-index": lambda: str(instance.ami_launch_index),
            "hostname": lambda: instance.private_dns_name,
            "instance-action": lambda: "none",
            "instance-id": lambda: instance.id,
            "instance-life-cycle": lambda: instance.lifecycle or "on-demand",
            "instance-type": lambda: instance.instance_type,
            "local-hostname": lambda: instance.private_dns_name,
            "local-ipv4": lambda: instance.private_ip,
            "placement": {
                "availability-zone": lambda: instance.availability_zone,
                "region": lambda: machine.region,
            },
            "reservation-id": lambda: _reservation_id(instance),
            "security-groups": lambda: "\n".join(group.name for group in instance.security_groups),
            "services": {"domain": lambda: "amazonaws.com", "partition": lambda: "aws"},
        }
        if machine.profile_arn:
            role = role_of_profile(machine.profile_arn)
            credentials = {role: lambda: self._credentials_document(machine, str(role))} if role else {}
            tree["iam"] = {"info": lambda: _profile_document(machine), "security-credentials": credentials}
        if machine.interrupt_at is not None:
            at = utc(machine.interrupt_at)
            action = json.dumps({"action": "terminate", "time": at})
            tree["spot"] = {"instance-action": lambda: action, "termination-time": lambda: at}
        if machine.rebalance_at is not None:
            notice = json.dumps({"noticeTime": utc(machine.rebalance_at)})
            tree["events"] = {"recommendations": {"rebalance": lambda: notice}}
        if instance.metadata_options.instance_metadata_tags == "enabled":
            tags = {tag["key"]: tag["value"] for tag in instance.get_tags()}
            tree["tags"] = {"instance": {key: (lambda value=value: value) for key, value in tags.items()}}
        return tree

    def _credentials_document(self, machine: Machine, role: str) -> str:
        credentials: Credentials | None = machine.credentials.get(role)
        # A short life is rotated by halves, so that a caller never gets credentials that are about to end.
        margin_s = min(ROTATE_BEFORE_S, self._credentials_s / 2)
        if credentials is None or credentials.expires_at - time.time() < margin_s:
            credentials = self._identities.issue(role, machine.id, self._credentials_s)
            machine.credentials[role] = credentials
        return json.dumps(
            {
                "Code": "Success",
                "LastUpdated": utc(credentials.expires_at - self._credentials_s),
                "Type": "AWS-HMAC",
                "AccessKeyId": credentials.access_key,
                "SecretAccessKey": credentials.secret_key,
                "Token": credentials.token,
                "Expiration": utc(credentials.expires_at),
            }
        )


def _new_token(tokens: dict[str, float], path: str, headers: dict[str, str], now: float) -> Reply:
    if path != "/latest/api/token":
        return 404, b"", {}
    text = headers.get(TTL_HEADER, "")
    if not text.isdigit() or not 1 <= int(text) <= TTL_MAX_S:
        return 400, b"", {}
    for old in [token for token, until in tokens.items() if until <= now]:
        del tokens[old]
    token = secrets.token_urlsafe(42)
    tokens[token] = now + int(text)
    return 200, token.encode(), {"X-Aws-Ec2-Metadata-Token-Ttl-Seconds": text}


def _resolve(latest: dict[str, Any], path: str) -> bytes | None:
    """A leaf's value, a folder's listing (folders end in "/"), or None."""
    versions = {"latest": latest, "2021-07-15": latest}
    node: Any = versions
    # A tag's name may hold slashes and spaces; only names below tags/instance do, so that prefix is taken whole.
    for part in _parts(path):
        if not isinstance(node, dict) or part not in node:
            return None
        node = node[part]
    if isinstance(node, dict):
        folder = [
            name + "/" if isinstance(below, dict) and node is not versions else name for name, below in node.items()
        ]
        if node is latest:
            folder = list(node)
        return "\n".join(folder).encode()
    value = node()
    return value if isinstance(value, bytes) else str(value).encode()


def _parts(path: str) -> list[str]:
    from urllib.parse import unquote

    clean = unquote(path).strip("/")
    before, mark, tag = clean.partition("meta-data/tags/instance/")
    if mark:
        return [*before.strip("/").split("/"), "meta-data", "tags", "instance", tag]
    return [part for part in clean.split("/") if part]


def role_of_profile(arn: str) -> str | None:
    """The role's name in an instance profile."""
    from moto.backends import get_backend

    for profile in list(get_backend("iam")[ACCOUNT_ID]["aws"].instance_profiles.values()):
        if profile.arn == arn and profile.roles:
            return str(profile.roles[0].name)
    return None


def _profile_document(machine: Machine) -> str:
    profile = machine.instance.iam_instance_profile
    return json.dumps(
        {
            "Code": "Success",
            "LastUpdated": utc(machine.launched_at),
            "InstanceProfileArn": profile["Arn"],
            "InstanceProfileId": profile["Id"],
        }
    )


def _identity(machine: Machine) -> str:
    instance = machine.instance
    return json.dumps(
        {
            "accountId": ACCOUNT_ID,
            "architecture": instance.architecture,
            "availabilityZone": instance.availability_zone,
            "imageId": instance.image_id,
            "instanceId": instance.id,
            "instanceType": instance.instance_type,
            "pendingTime": utc(machine.launched_at),
            "privateIp": instance.private_ip,
            "region": machine.region,
            "version": "2017-09-30",
        },
        indent=2,
    )


def _reservation_id(instance: Any) -> str:
    for reservation in list(instance.ec2_backend.reservations.values()):
        if instance in reservation.instances:
            return str(reservation.id)
    return ""


def _parsed(head: bytes) -> tuple[str, str, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = (line.partition(":") for line in lines if line)
    return method, target, {name.strip().lower(): value.strip() for name, _, value in headers}


def _head(status: int, body: bytes, extra: dict[str, str], keep: bool) -> bytes:
    headers = {"Server": "EC2ws", "Content-Type": "text/plain", "Content-Length": str(len(body)), **extra}
    headers["Connection"] = "keep-alive" if keep else "close"
    lines = [f"HTTP/1.1 {status} {PHRASES[status]}", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
