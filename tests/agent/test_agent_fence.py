"""A job with network is kept from its host's identity: by the real rules, in the real sandbox, against a metadata service one hop away."""

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest
from agent_machine import Web, a_job
from hypothesis import given
from hypothesis import strategies as st

from agent import firewall, users
from agent.firewall import Fence, doors, judge
from localcloud.instances.peers import JOB_UIDS

ROOT = Path(__file__).resolve().parents[2]
WORLD = ("unshare", "--net", "--mount", "sh", str(Path(__file__).parent / "metadata_world.sh"), sys.executable)
SHUT = ["1", "1", "13", "97"]


def test_only_what_a_raised_fence_answers_proves_it():
    """No route, no answer, no service: each may be another one a moment later."""
    asked = doors("http://169.254.169.254")
    assert judge(asked, SHUT) == ""
    for at in range(4):
        for word in ("answered", "closed", "late", "101", "111", "110", "113"):
            said = [*SHUT[:at], word, *SHUT[at + 1 :]]
            assert "not kept from the metadata service" in judge(asked, said), said
    assert "could not be tried" in judge(asked, SHUT[:3])
    assert "sh: python3: not found" in judge(asked, ["sh: python3: not found"])


def test_another_endpoint_must_break_off_without_an_answer():
    """As the embedded cloud's does; that nobody listens there just now proves nothing."""
    asked = doors("http://127.0.0.1:1338")
    assert asked[-1][:2] == ("127.0.0.1", 1338)
    assert judge(asked, [*SHUT, "closed"]) == judge(asked, [*SHUT, str(errno.ECONNRESET)]) == ""
    for word in ("answered", "late", str(errno.ECONNREFUSED)):
        assert judge(asked, [*SHUT, word])


def test_where_no_fence_can_be_raised_none_is_believed():
    """An agent that is not root, or a sandbox that does not change users."""
    fence = Fence(False, firewall.METADATA[0], lambda asked: SHUT)
    assert "could act as this host" in fence.hold()


def test_the_embedded_clouds_stand_in_goes_by_the_same_users():
    """It may not import the agent."""
    assert range(users.FIRST_UID, users.LAST_UID + 1) == JOB_UIDS


@given(st.text("0123456789abcdef", min_size=64, max_size=64))
def test_every_attempts_user_is_one_that_the_rules_name(digest):
    first = users.first_of(digest)
    assert first >= users.FIRST_UID
    assert first + users.UIDS_EACH - 1 < users.LOCAL_FIRST_UID <= users.LAST_UID


def in_the_world(script):
    """Run Python in a network of its own, with a metadata service on the other side of a cable; what it printed, as JSON."""
    done = subprocess.run([*WORLD, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    if "not permitted" in done.stderr:
        pytest.skip("this machine does not let its users make networks")
    return json.loads(done.stdout)


@pytest.mark.usefixtures("sandboxed")
def test_a_job_reaches_the_metadata_service_on_no_way_and_root_on_all(tmp_path):
    """IPv4, IPv6, IPv4 written as IPv6, sockets bound to the interface by either option or by a link-local connection, source routes.

    Without the rule the probe says so; with it but without the filter, three ways are open: each half is needed.
    """
    seen = in_the_world(f"""
import json, os, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import metadata_ways
from agent import firewall
from agent.sandbox import bwrap
top = {str(tmp_path)!r}
os.chmod(top, 0o711)
box, why = bwrap.find(top + "/probe", 200001)
fence = firewall.fence_of(box, top + "/probe", 200001, "")
probed = lambda: firewall.judge(firewall.doors(firewall.METADATA[0]), fence._probe(firewall.doors(firewall.METADATA[0])))
seen = {{"root": metadata_ways.all_ways(), "before": probed(), "hold": fence.hold()}}
seen["job"] = metadata_ways.sandboxed(box, top)
box.filters = False
seen["unfiltered"], seen["half"] = metadata_ways.sandboxed(box, top), probed()
print(json.dumps(seen))
""")
    open_to_root = {way for way, met in seen["root"].items() if met == "token"}
    assert {"plain", "ipv6", "mapped", "device", "index", "link_local"} <= open_to_root, seen
    assert "169.254.169.254 (answered)" in seen["before"], seen
    assert seen["hold"] == ""
    assert set(seen["job"]) == set(seen["root"])
    assert "token" not in seen["job"].values(), seen
    assert {way for way, met in seen["unfiltered"].items() if met == "token"} == {"device", "index", "link_local"}, seen
    assert "SO_BINDTODEVICE" in seen["half"]


@pytest.mark.usefixtures("sandboxed")
def test_rules_that_somebody_takes_away_are_put_back():
    """A network service that is restarted may drop what it does not know."""
    seen = in_the_world("""
import json, subprocess
from agent import firewall
rules = lambda: subprocess.run("ip rule; ip -6 rule", shell=True, capture_output=True, text=True).stdout.count("prohibit")
fence = firewall.Fence(True, firewall.METADATA[0], lambda asked: ["1", "1", "13", "97"])
fence.keep()
seen = [rules(), fence.hold(), rules(), fence.hold(), rules()]
subprocess.run("ip rule del pref 1; ip -6 rule del pref 1", shell=True, check=True)
fence.keep()
print(json.dumps([*seen, rules()]))
""")
    assert seen == [0, "", 2, "", 2, 2]


def test_with_network_a_job_reaches_what_its_host_reaches_but_for_the_metadata_service(machine):
    """A listener, not the host's identity; without network it reaches neither."""
    listener = Web(lambda *_: (200, b"hi"))
    one = machine()
    there, identity = (web.url.removeprefix("http://").replace(":", "/") for web in (listener, one.metadata))
    command = f"""bash -c 'exec 3<>/dev/tcp/{there}' && echo reached
    bash -c 'exec 3<>/dev/tcp/{identity}; printf "PUT /latest/api/token HTTP/1.0\\r\\n\\r\\n" >&3; cat <&3'
    bash -c 'exec 3<>/dev/tcp/169.254.169.254/80' 2>&1 | grep -om1 'Permission denied' || echo no network"""
    one.manifest["hosts"][0]["assignments"] = [a_job("job-1", command, network=True), a_job("job-2", command)]
    one.start()
    assert one.wait("finish", "job-1")["log"]["text"] == "reached\nPermission denied\n"
    assert one.wait("finish", "job-2")["log"]["text"].endswith("no network\n")
    assert "reached" not in one.wait("finish", "job-2")["log"]["text"]
    assert one.metadata.refused == 2, "the probe and the job"
    listener.close()


def test_a_fence_that_does_not_hold_refuses_the_untrusted_only(machine):
    """Here a metadata service that answers everybody."""
    one = machine(
        assignments=[
            a_job("job-1", network=True),
            a_job("job-2", "echo trusted", network=True, untrusted=False),
            a_job("job-3", "echo alone"),
        ]
    )
    one.metadata.fenced = False
    one.start()
    refused = one.wait("refused", "job-1")
    assert refused["why"] == "no_sandbox"
    assert refused["reason"].startswith(
        "jobs with network could act as this host: a job's user is not kept from the metadata service"
    )
    assert one.wait("finish", "job-2")["log"]["text"] == "trusted\n"
    assert one.wait("finish", "job-3")["log"]["text"] == "alone\n"
