"""What stands between a command with network and its host's identity: the metadata service answers root, not a job.

A command with `network` shares the host's network. There every process may ask the metadata service for the host's role, and with it
act as the host. So root's agent has the kernel refuse it, by routing rules that go by the user: what a job's user sends to
169.254.0.0/16 or fd00:ec2::/32 is prohibited (EACCES). The rules name the users of all attempts of all agents, so that they are the same
on every host, and there are two of them at most; they have the kernel's own protocol number, because systemd-networkd takes away those of
others. A socket that is bound to an interface gets past routing rules: Linux takes every address to be on its link when it finds no
route. So the filter of system calls is the other half: under it a command with network binds none (agent/sandbox/seccomp.py).

Something that was asked for is not yet a fence. Before a job with network begins, a probe in the same sandbox, as a job's own user, tries
each way; only if it is refused in just the way in which this fence refuses is the fence there. Otherwise an untrusted job is not begun.

Where the metadata service is told to be elsewhere (as in the embedded cloud, on 127.0.0.1, which no routing rule concerns), the probe
asks it for a session, too: it must break off without an answer.
"""

from __future__ import annotations

import errno
import os
import shlex
import socket
import struct
import subprocess
import threading
import time
from typing import Callable, NamedTuple, Optional, Sequence
from urllib.parse import urlsplit

from agent.sandbox import Ask, Sandbox
from agent.users import FIRST_UID, LAST_UID

PROVEN_FOR_S = 60.0
PROBE_TIMEOUT_S = 20
CONNECT_TIMEOUT_S = 2
FENCED = ("169.254.0.0/16", "fd00:ec2::/32")
BINDINGS = ("SO_BINDTODEVICE", "SO_BINDTOIFINDEX")
METADATA = ("http://169.254.169.254", "http://[fd00:ec2::254]")

RTM_NEWRULE, NLMSG_ERROR = 32, 2
REQUEST, ACK, EXCL, CREATE = 1, 4, 0x200, 0x400
FRA_DST, FRA_PRIORITY, FRA_UID_RANGE, FRA_PROTOCOL = 1, 6, 20, 21
PROHIBIT, PRIORITY, RTPROT_KERNEL = 8, 1, 2

ASKS = """
import socket, sys
with socket.socket() as s:
    for option in (25, 62):
        try:
            s.setsockopt(1, option, b"lo\\0\\0")
            print("bound")
        except OSError as error:
            print(error.errno)
for name in sys.argv[1:]:
    host, port = name.rsplit(" ", 1)
    try:
        with socket.create_connection((host, int(port)), %d) as s:
            s.sendall(b"PUT /latest/api/token HTTP/1.1\\r\\nHost: metadata\\r\\nX-aws-ec2-metadata-token-ttl-seconds: 60\\r\\n"
                      b"Content-Length: 0\\r\\nConnection: close\\r\\n\\r\\n")
            print("answered" if s.recv(1) else "closed")
    except OSError as error:
        print(error.errno or "late")
""" % (CONNECT_TIMEOUT_S)


class Door(NamedTuple):
    """One way to the metadata service, and what a probe meets there when it is shut: the number of an error, or "closed"."""

    host: str
    port: int
    shut: tuple[str, ...]


def doors(endpoint: str) -> tuple[Door, ...]:
    """All ways that there are: AWS's own, and `endpoint` where that is another. That nobody answers shuts none: somebody may later."""
    prohibited, closed = str(errno.EACCES), ("closed", *map(str, (errno.ECONNRESET, errno.EPIPE, errno.EACCES)))
    found = [
        Door("169.254.169.254", 80, (prohibited,)),
        Door("fd00:ec2::254", 80, (str(errno.EAFNOSUPPORT),)),  # there is no IPv6 under the filter
    ]
    if endpoint not in METADATA:
        parts = urlsplit(endpoint)
        found.append(Door(parts.hostname or "", parts.port or 80, closed))
    return tuple(found)


def judge(asked: Sequence[Door], said: Sequence[str]) -> str:
    """What a probe's answers say: "" when all is shut, else a sentence. The first two are about binding a socket."""
    if len(said) != len(BINDINGS) + len(asked):
        return "whether they reach the metadata service could not be tried: %s" % " ".join(said)[-200:]
    shut = [(name, (str(errno.EPERM),)) for name in BINDINGS] + [(door.host, door.shut) for door in asked]
    found = ["%s (%s)" % (name, met(said[at])) for at, (name, words) in enumerate(shut) if said[at] not in words]
    return "a job's user is not kept from the metadata service: " + ", ".join(found) if found else ""


def met(said: str) -> str:
    """What a probe met, for people."""
    return os.strerror(int(said)) if said.isdigit() else said


USERS = ((FRA_UID_RANGE, struct.pack("=II", FIRST_UID, LAST_UID)),)


def rule(network: str, whose: Sequence[tuple[int, bytes]] = USERS) -> bytes:
    """The netlink request that has packets of jobs' users (or `whose` else) to `network` prohibited."""
    address, _, bits = network.partition("/")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    body = struct.pack("=8BI", family, int(bits), 0, 0, 0, 0, 0, PROHIBIT, 0)
    for kind, value in (
        (FRA_DST, socket.inet_pton(family, address)),
        (FRA_PRIORITY, struct.pack("=I", PRIORITY)),
        *whose,
        (FRA_PROTOCOL, struct.pack("=B", RTPROT_KERNEL)),
    ):
        body += struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)
    return struct.pack("=IHHII", 16 + len(body), RTM_NEWRULE, REQUEST | ACK | CREATE | EXCL, 1, 0) + body


def add(request: bytes) -> int:
    """Send it to the kernel: 0, or the number of its error (EEXIST where the rule was there). Raises OSError."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0) as kernel:
        kernel.settimeout(CONNECT_TIMEOUT_S)
        kernel.send(request)
        answer = kernel.recv(4096)
    kind, error = struct.unpack_from("=H", answer, 4)[0], struct.unpack_from("=i", answer, 16)[0]
    return -error if kind == NLMSG_ERROR else errno.EPROTO


class Fence:
    """The fence of this host. `can`: whether one can be raised here at all; `probe(doors)` answers what a job's user meets: at each way to
    bind a socket, then at each door; raises OSError."""

    def __init__(self, can: bool, endpoint: str, probe: Callable[[Sequence[Door]], Sequence[str]]) -> None:
        self._can = can
        self._doors = doors(endpoint)
        self._probe = probe
        self._lock = threading.Lock()
        self._asked = False
        self._proven_until = 0.0

    def keep(self) -> None:
        """Once a job has needed them: put the rules back if somebody has taken them away."""
        if self._asked:
            with self._lock:
                self._raise()

    def hold(self) -> str:
        """Raise it and prove it; "" or, as a sentence, why it does not hold."""
        if not self._can:
            return "jobs with network could act as this host: to prevent that, its agent must be root, with bubblewrap and setpriv"
        with self._lock:
            self._asked = True
            why = self._raise()
            if not why and time.monotonic() >= self._proven_until:
                why = self._prove()
                self._proven_until = 0.0 if why else time.monotonic() + PROVEN_FOR_S
        return why and "jobs with network could act as this host: %s" % why

    def _raise(self) -> str:
        for network in FENCED:
            try:
                error = add(rule(network))
            except OSError as failure:
                error = failure.errno or errno.EIO
            if error == 0:
                self._proven_until = 0.0
            elif error != errno.EEXIST and not (":" in network and error in (errno.EAFNOSUPPORT, errno.EOPNOTSUPP)):
                return "no rule could be made that keeps them from %s: %s" % (network, os.strerror(error))
        return ""

    def _prove(self) -> str:
        try:
            said = self._probe(self._doors)
        except (OSError, subprocess.SubprocessError) as error:
            return "whether they reach the metadata service could not be tried: %s" % error
        return judge(self._doors, said)


def fence_of(sandbox: Optional[Sandbox], folder: str, uid: int, endpoint: str) -> Fence:
    """The fence of this host around commands in `sandbox`; `folder` and `uid` are the probe's own."""

    def probe(asked: Sequence[Door]) -> Sequence[str]:
        assert sandbox is not None
        words = ["python3", "-I", "-S", "-c", ASKS, *("%s %d" % (door.host, door.port) for door in asked)]
        command = " ".join(map(shlex.quote, words))
        launch = sandbox.launch(Ask(command, folder + "/work", folder + "/tmp", True, {}, "probe", 1, uid))
        try:
            done = subprocess.run(
                launch.argv,
                env=dict(launch.environment),
                cwd=launch.cwd,
                pass_fds=launch.inherit,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=PROBE_TIMEOUT_S,
            )
        finally:
            for fd in launch.inherit:
                os.close(fd)
        return done.stdout.decode("utf-8", "replace").splitlines()

    can = sandbox is not None and sandbox.drops_uid and sandbox.filters and os.geteuid() == 0
    return Fence(can, endpoint.rstrip("/") or METADATA[0], probe)
