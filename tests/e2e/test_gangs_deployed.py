"""A job on several hosts of the deployed system: launched in one request, told to begin together, and its members reach each other."""

from __future__ import annotations

import pytest
from deployed_once import Deployed

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

OFFERINGS = [{"region": "us-east-1", "instance_type": "c7i.large"}]
PORT = 47_121
SUM = f"""python3 -c '
import json, os, socket, time
rank, count = int(os.environ["SPILLWAY_RANK"]), int(os.environ["SPILLWAY_HOSTS"])
peers = os.environ["SPILLWAY_PEERS"].split(",")
if rank == 0:
    heard, server = [0], socket.create_server(("", {PORT}))
    while len(heard) < count:
        heard.append(int(server.accept()[0].makefile().readline()))
    print("rank", rank)
    json.dump({{"sum": sum(heard), "peers": len(peers)}}, open("sum.json", "w"))
if rank:
    print("rank", rank)
for _ in range(200 if rank else 0):
    try:
        with socket.create_connection((peers[0], {PORT})) as line:
            line.sendall(b"%d\\n" % (rank * 10))
        break
    except OSError:
        time.sleep(0.05)
'"""


def test_the_members_of_a_gang_begin_together_and_reach_each_other(deployed: Deployed) -> None:
    """Two new hosts, one launch; rank 0 adds up what the others send to its address; then one fails on one of them, and all end."""
    spillway, pool = deployed.client, "gangs"
    spillway.put_pool(pool, {"offerings": OFFERINGS, "hosts_max": 2, "linger_s": 30})
    job = spillway.submit(SUM, timeout_s=60, pool=pool, hosts=2, network=True, result="sum.json")
    (done,) = spillway.wait([job.id], timeout_s=120)
    assert done.state == "succeeded", (done.reason, spillway.log(job.id))
    assert done.result == {"sum": 10, "peers": 2}
    assert [(one["rank"], one["state"]) for one in done.members] == [(0, "succeeded"), (1, "succeeded")]
    assert [spillway.log(job.id, rank=rank).text for rank in (0, 1)] == ["rank 0\n", "rank 1\n"]
    assert len({one["host"] for one in done.members}) == 2
    fails = spillway.submit('test "$SPILLWAY_RANK" = 0 && sleep 50 || exit 3', timeout_s=60, pool=pool, hosts=2)
    (done,) = spillway.wait([fails.id], timeout_s=40)
    assert (done.state, done.exit_code) == ("failed", 3), done.reason
    assert "rank 1 of 2" in (done.reason or "")
    assert [one["state"] for one in done.members] == ["cancelled", "failed"]
    spillway.patch_pool(pool, {"killed": True})
