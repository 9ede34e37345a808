"""Members of a gang, as the real agent plays them: claim, ready, wait, go; and what ends the waiting."""

import json
import socket
import threading

import pytest
from agent_machine import a_job

from agent import gang, inbox

pytestmark = pytest.mark.usefixtures("sandboxed")

PEERS = ["10.0.0.7", "10.0.0.8"]
ECHO = 'echo "$SPILLWAY_RANK of $SPILLWAY_HOSTS: $SPILLWAY_PEERS"'


def a_member(job, command=ECHO, **fields):
    return a_job(job, command, **{"cpu": 0.2, "rank": 1, "hosts": 2, **fields})


def go(job):
    return {"job": job, "attempt": 1, "peers": PEERS}


def test_a_member_begins_when_it_is_told_to_and_not_before(machine):
    """Claimed and ready with its address, also after a kill -9; the go tells it rank and peers; who is not named any more, or is
    cancelled, gives up without having begun."""
    members = [a_member(name) for name in ("told", "taken", "cancelled")]
    one = machine(assignments=members, settings={"slots": 4}).start()
    addresses = {one.wait("ready", name)["address"] for name in ("told", "taken", "cancelled")}
    assert len(addresses) == 1
    assert socket.inet_aton(addresses.pop())
    assert one.claims() == {"told#1": "agent", "taken#1": "agent", "cancelled#1": "agent"}
    one.kill()
    one.start()
    for name in ("told", "taken", "cancelled"):
        one.wait("ready", name, count=2)
    assert not one.pings("start")
    one.write_inbox(7, members[:1], [{"job": "cancelled", "attempt": 1}], go=[go("told")])
    one.ring()
    finish = one.wait("finish", "told")
    assert (finish["outcome"], finish["log"]["text"]) == ("succeeded", "1 of 2: 10.0.0.7,10.0.0.8\n")
    for name in ("taken", "cancelled"):
        assert one.wait("finish", name)["outcome"] == "cancelled"
        assert not one.pings("start", name)
    one.wait("idle")


def test_an_inbox_names_members_that_are_known_already():
    """What an agent knows is no news, but that it is named, and that it is told to begin, is."""
    told = {"job": "b", "attempt": 2, "peers": ["1", "2"]}
    body = json.dumps({"pass_no": 3, "assignments": [a_job("a")], "go": [told]}).encode()
    orders = inbox.read(body, 0, {"a#1": inbox.KNOWN, "b#2": inbox.KNOWN})
    assert orders is not None
    assert orders.assignments == ()
    assert orders.named == {"a#1", "b#2"}
    assert orders.go == {"b#2": ("1", "2")}


def test_the_first_go_stays():
    """Peers are what they were when all were ready, whatever comes twice."""
    gathering = gang.Gathering()
    threading.Timer(0.01, gathering.go, [["a", "b"]]).start()
    assert gathering.wait(1e9)
    gathering.go(["c"])
    assert gathering.peers == ("a", "b")
