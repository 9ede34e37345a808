"""Programs that know nothing of checkpoints go on elsewhere, process by process - where the host's CRIU works."""

import io
import tarfile

import pytest
from agent_machine import a_job

from agent import criu
from agent.sandbox import bwrap

KEPT = {"interval_s": 300, "by": "criu", "mib_max": 256}
COUNTS = """exec 3>>/job/file; i=0; while [ $i -lt 12 ]; do i=$((i+1)); echo $i; echo $i >&3
[ $i = 4 ] && { spillway-agent checkpoint >/dev/null; sleep 3; }; done; echo "$(cat)" "$SPILLWAY_ATTEMPT"; exit 7"""


@pytest.fixture
def thaws(tmp_path, sandboxed):
    found, why = bwrap.find(str(tmp_path / "probe"), 200000)
    why = why or criu.lacks(found, False)
    if why:
        pytest.skip("processes cannot be frozen here: " + why)


def kept(one):
    prefix = f"hosts/{one.userid}/job-1/1/checkpoint/"
    return [entry["Key"] for entry in one.s3.list_objects_v2(Bucket=one.bucket, Prefix=prefix).get("Contents", [])]


def going_on(one, keys):
    urls = {key: one.s3.generate_presigned_url("get_object", {"Bucket": one.bucket, "Key": key}) for key in keys}
    restore = [{"key": key, "at": 1.0} for key in keys]
    return a_job(attempt=2, command="echo never", checkpoint=KEPT, restore=restore, urls=urls)


def without(data, gone):
    """An archive that lacks a member."""
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(data)) as old, tarfile.open(fileobj=out, mode="w:gz") as new:
        for member in old:
            if member.name != gone:
                new.addfile(member, old.extractfile(member) if member.isreg() else None)
    return out.getvalue()


def test_a_program_goes_on_in_the_middle_of_its_loop(machine, thaws):
    """Its memory, its open file and its place in it; its exit code is told; and what cannot go on is told as broken."""
    one = machine(assignments=[a_job(command=COUNTS, checkpoint=KEPT)]).start()
    one.until(lambda: kept(one))
    one.kill()
    (key,) = kept(one)
    two = machine(assignments=[])
    two.manifest["hosts"][0]["assignments"] = [going_on(one, [key])]
    two.start()
    start, finish = two.wait("start"), two.wait("finish")
    assert start["restored"].startswith("it continues from the checkpoint 1 of attempt 1")
    assert (finish["outcome"], finish["exit_code"]) == ("failed", 7), finish
    data = one.s3.get_object(Bucket=one.bucket, Key=key)["Body"].read()
    one.s3.put_object(Bucket=one.bucket, Key=key, Body=without(data, "criu/core-63.img"))
    two.write_inbox(1, [{**going_on(one, [key]), "attempt": 3}])
    two.ring()
    broken = two.wait("finish", count=2)
    assert broken["outcome"] == "infrastructure"
    assert "the processes of its checkpoint could not go on here" in broken["reason"]
    assert two.pings("progress")[-1]["checkpoint_broken"] == key
    assert finish["log"]["text"] == "".join(f"{n}\n" for n in range(5, 13)) + " 1\n"


def test_where_it_cannot_work_it_says_so_and_the_job_runs(machine, sandboxed):
    """A job with network: it is run to its end, and everybody knows that nothing of it is kept."""
    command = "spillway-agent checkpoint || echo no"
    one = machine(assignments=[a_job(command=command, checkpoint=KEPT, network=True, untrusted=False)]).start()
    finish = one.wait("finish")
    assert finish["outcome"] == "succeeded"
    assert "its processes are not kept: what a command has connected to cannot be kept" in finish["log"]["text"]
