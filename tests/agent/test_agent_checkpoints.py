"""What a command wants kept is kept, whole or not at all, and put back where its job goes on."""

import json
import time

import pytest
from agent_machine import a_job

from agent import packing

pytestmark = pytest.mark.usefixtures("sandboxed")

KEPT = {"interval_s": 300, "by": "files", "mib_max": 1}


def kept(one, job="job-1", attempt=1):
    """Keys of what is in the bucket."""
    prefix = f"hosts/{one.userid}/{job}/{attempt}/checkpoint/"
    return [entry["Key"] for entry in one.s3.list_objects_v2(Bucket=one.bucket, Prefix=prefix).get("Contents", [])]


def going_on(one, checkpoints, **fields):
    """Attempt 2 of a job, handed over with what the first has kept, the newest first."""
    sign = lambda key: one.s3.generate_presigned_url("get_object", {"Bucket": one.bucket, "Key": key})  # noqa: E731
    restore = [{"key": key, "at": 1.0} for key in checkpoints]
    return a_job(attempt=2, checkpoint=KEPT, restore=restore, urls={key: sign(key) for key in checkpoints}, **fields)


def test_a_second_attempt_begins_with_what_the_first_has_kept(machine):
    """Files, links and names of any bytes; what the program asked for is kept when it returns, a failed command's last state, too."""
    command = """cd $SPILLWAY_CHECKPOINT_DIR && mkdir -p a/b && echo 1 > a/b/count && ln -s /checkpoint/a/b latest && ln a/b/count same
    touch "$(printf 'odd\\377\\nname')" && mkfifo pipe && chmod 700 a && spillway-agent checkpoint; spillway-agent checkpoint
    echo 2 > a/b/count; exit 9"""
    one = machine(assignments=[a_job(command=command, checkpoint=KEPT)]).start()
    finish = one.wait("finish")
    assert finish["log"]["text"].startswith("kept as checkpoint 1: ")
    assert finish["log"]["text"].endswith("nothing is new since checkpoint 1\n")
    told = list(dict.fromkeys(p["checkpoint"]["key"] for p in one.pings("progress")))
    assert told == kept(one) == [f"hosts/{one.userid}/job-1/1/checkpoint/{n}.tar.gz" for n in (1, 2)]
    kinds = [p["kind"] for p in one.pings()]
    assert kinds.index("finish") > len(kinds) - 1 - kinds[::-1].index("progress"), "told before the end is"
    command = "cat /checkpoint/latest/count; ls -bA /checkpoint; echo 3 > /checkpoint/a/b/count && id -u"
    two = machine(assignments=[])
    two.manifest["hosts"][0]["assignments"] = [going_on(one, told[::-1], command=command)]
    two.start()
    start, finish = two.wait("start"), two.wait("finish")
    assert start["restored"].startswith("it continues from the checkpoint 2 of attempt 1")
    assert finish["outcome"] == "succeeded"
    assert finish["log"]["text"].splitlines()[:-1] == ["2", "a", "latest", "odd\\377\\nname", "same"]


def test_one_that_is_broken_or_gone_is_told_and_the_one_before_is_used(machine):
    """And where none is whole, it starts afresh, with a sentence."""
    one = machine()
    keys = [f"hosts/{one.userid}/job-1/1/checkpoint/{n}.tar.gz" for n in (3, 2, 1)]
    one.s3.put_object(Bucket=one.bucket, Key=keys[1], Body=b"\x1f\x8bbroken")
    job = going_on(one, keys[:2], command="ls -A /checkpoint | wc -l")
    one.manifest["hosts"][0]["assignments"] = [job]
    one.start()
    said = one.wait("start")["restored"]
    assert said.startswith("it starts afresh; the checkpoint 3 of attempt 1 was not used: ")
    assert "; the checkpoint 2 of attempt 1 was not used: " in said
    assert one.wait("finish")["log"]["text"] == "0\n"


def test_too_much_is_told_and_not_kept_and_what_always_changes_is_not_kept_half(machine):
    """The command hears it, and so does everybody else."""
    command = "head -c 1100000 /dev/urandom > /checkpoint/big; spillway-agent checkpoint; rm /checkpoint/big; "
    command += "cd /checkpoint; for n in $(seq 50); do head -c 15000 /dev/urandom > $n; done; "
    command += "(while :; do echo x > x; done) & while [ ! -e x ]; do :; done; spillway-agent checkpoint || true"
    one = machine(assignments=[a_job(command=command, checkpoint=KEPT, cpu=2)]).start()
    finish = one.wait("finish")
    assert "not kept: it holds 2 MiB, more than the 1 of its mib_max" in finish["log"]["text"]
    assert "not kept: it changed while it was read, each time" in finish["log"]["text"]
    assert kept(one) == []
    assert "mib_max" in one.pings("progress")[0]["checkpoint_problem"]


def test_without_a_checkpoint_in_the_spec_nothing_is_kept(machine):
    one = machine(assignments=[a_job(command="spillway-agent checkpoint; echo $?; ls -d /checkpoint")]).start()
    text = one.wait("finish")["log"]["text"]
    assert "its spec has no checkpoint\n1\n" in text


def test_each_interval_what_is_new_is_kept(machine):
    """Nothing new: nothing is sent."""
    command = "echo 1 > /checkpoint/x; while [ ! -e /job/go ]; do sleep 0.05; done; echo 2 > /checkpoint/x; sleep 60"
    wanted = {**KEPT, "interval_s": 1}
    one = machine(assignments=[a_job(command=command, checkpoint=wanted)]).start()
    one.until(lambda: len(kept(one)) == 1)
    told = len(one.pings("progress"))
    one.wait("progress", count=told + 2)  # two intervals in which nothing happens
    assert len(kept(one)) == 1
    (one.root / "var/lib/spillway/work/job-1.1/work/go").touch()
    one.until(lambda: len(kept(one)) == 2)


def test_on_interruption_the_largest_is_warned_and_saved_first(machine):
    """Each has its time to write, and says when it is ready; all is saved long before the deadline."""
    command = """head -c %d /dev/urandom > /checkpoint/x; touch /tmp/ready
    while [ ! -e $SPILLWAY_INTERRUPTION ]; do sleep 0.05; done; date +%%s.%%N > /checkpoint/warned; sleep 60"""
    sizes = {"job-small": 10, "job-large": 900000, "job-middle": 50000}
    jobs = [a_job(job, command % size, checkpoint=KEPT, timeout_s=50, cpu=0.5) for job, size in sizes.items()]
    one = machine(assignments=jobs, settings={"slots": 3}).start()
    tmp = "var/lib/spillway/work/%s.1/tmp/ready"
    one.until(lambda: all((one.root / (tmp % job)).exists() for job in sizes))
    at = time.gmtime(time.time() + 9)
    one.spot_action = json.dumps({"action": "terminate", "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", at)})
    one.until(lambda: all(kept(one, job) for job in sizes), timeout_s=20)
    told = [p["job"] for p in one.pings("progress") if "checkpoint" in p]
    while len(told) < 3:
        one.poll()
        told = list(dict.fromkeys(p["job"] for p in one.pings("progress") if "checkpoint" in p))
    assert told == ["job-large", "job-middle", "job-small"]


def test_an_adopted_attempt_is_heard_and_saved_by_the_next_agent(machine):
    """Its progress is not forgotten and no checkpoint is written over; the command meets the new socket where the old one was."""
    command = """cd /checkpoint; echo 1 > n; spillway-agent checkpoint; spillway-agent progress 10 first
    while [ ! -e /job/deaf ]; do sleep 0.05; done; spillway-agent progress 15 unheard; touch /job/tried
    while [ ! -e /job/go ]; do sleep 0.05; done
    spillway-agent checkpoint; echo 2 > n; spillway-agent checkpoint; spillway-agent progress 20 second; sleep 60"""
    one = machine(assignments=[a_job(command=command, checkpoint=KEPT, stall_s=60)]).start()
    one.until(lambda: one.poll(0) or any(p["percent"] == 10 for p in one.pings("progress")))
    one.kill()
    work = one.root / "var/lib/spillway/work/job-1.1/work"
    (work / "deaf").touch()
    one.until((work / "tried").exists)
    one.start()
    again = len(one.pings("progress"))
    told = one.wait("progress", count=again + 1)
    assert (told["percent"], told["note"], told["checkpoint"]["key"]) == (10.0, "first", kept(one)[0])
    (work / "go").touch()
    one.until(lambda: one.poll(0) or any(p["percent"] == 20 for p in one.pings("progress")))
    assert kept(one) == [f"hosts/{one.userid}/job-1/1/checkpoint/{n}.tar.gz" for n in (1, 2)]
    assert one.pings("progress")[-1]["checkpoint"]["key"] == kept(one)[-1]
    one.write_inbox(1, cancel=[{"job": "job-1", "attempt": 1}])
    one.ring()
    text = one.wait("finish")["log"]["text"]
    assert text.splitlines()[1:3] == [
        "spillway-agent: the agent of this host does not answer now; it may be restarting",
        "nothing is new since checkpoint 1",
    ]


def test_a_folder_that_becomes_a_link_while_it_is_read_is_not_followed(tmp_path):
    """Its command runs on while the agent reads with root's power: what the link shows is the host's."""
    kept_folder, outside = tmp_path / "kept", tmp_path / "outside"
    (kept_folder / "a" / "b").mkdir(parents=True)
    outside.mkdir()
    (outside / "secret").write_text("x")
    walk = packing._entries(str(kept_folder))
    assert next(walk).path == "a"
    (kept_folder / "a" / "b").rmdir()
    (kept_folder / "a").rmdir()
    (kept_folder / "a").symlink_to(outside)
    assert list(walk) == []
    look = packing.look(str(kept_folder))
    assert (look.entries, look.bytes) == (1, 0), "a link, and nothing behind it"
