"""Which user is at the other end of a connection on this machine, as /proc/net tells it.

On EC2 routing rules keep jobs from the metadata service (docs/adr/0016): they prohibit 169.254.0.0/16 to the users that jobs run as. Here
that service is on 127.0.0.1, where no such rule applies, so it looks for itself and breaks off what comes from one of those users.
"""

import socket
from pathlib import Path

JOB_UIDS = range(200_000, 841_000)  # agent/users.py
TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


def is_a_jobs(here: tuple[str, int], there: tuple[str, int]) -> bool:
    """Whether the IPv4 connection between these addresses, this end first, is a job's. So is one that nobody knows any more."""
    if not TABLES[0].exists():
        return False  # no Linux, no users of jobs
    uid = _uid(_written(there), _written(here))
    return uid is None or uid in JOB_UIDS


def _written(address: tuple[str, int]) -> str:
    host = int.from_bytes(socket.inet_aton(address[0]), "little")
    return f"{host:08X}:{address[1]:04X}"


def _uid(local: str, remote: str) -> int | None:
    for table in TABLES:
        if not table.exists():
            continue
        for line in table.read_text().splitlines()[1:]:
            words = line.split()
            if words[1].endswith(local) and words[2].endswith(remote):
                return int(words[7])
    return None
