"""What an attempt finds in its work folder, beside uploads: objects of other buckets."""

import io
import tarfile

import pytest
from agent_machine import a_job, processes_with

pytestmark = pytest.mark.usefixtures("sandboxed")


def an_archive(**files):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    return packed.getvalue()


def signed(one, key, expires_s=600):
    return one.s3.generate_presigned_url("get_object", Params={"Bucket": one.bucket, "Key": key}, ExpiresIn=expires_s)


def test_an_object_of_another_bucket_is_fetched_and_unpacked(machine):
    """By its signed address, which is named by the object's own; nothing of it is kept on the host."""
    one = machine()
    one.s3.put_object(Bucket=one.bucket, Key="theirs/job.tar.gz", Body=an_archive(run="echo unpacked $(cat ../plain)"))
    packed, plain = "s3://theirs/job.tar.gz", "s3://theirs/plain"
    one.s3.put_object(Bucket=one.bucket, Key="theirs/plain", Body=b"plain")
    job = a_job(
        command="cd grade && sh run",
        inputs=[{"path": "grade", "s3": packed, "unpack": True}, {"path": "plain", "s3": plain}],
        urls={packed: signed(one, "theirs/job.tar.gz"), plain: signed(one, "theirs/plain")},
    )
    one.manifest["hosts"][0]["assignments"] = [job]
    one.start()
    finish = one.wait("finish")
    assert finish["log"]["text"] == "unpacked plain\n", finish
    assert one.wait("idle")["holds"] == []


def test_an_object_that_is_not_there_fails_its_job_with_a_sentence(machine):
    """Fresh addresses would not bring it."""
    one = machine()
    address = "s3://theirs/none"
    inputs = [{"path": "x", "s3": address}]
    one.manifest["hosts"][0]["assignments"] = [a_job(inputs=inputs, urls={address: signed(one, "none")})]
    one.start()
    refused = one.wait("refused")
    assert (refused["why"], refused["reason"]) == ("bad_input", "input s3://theirs/none is not there (404)")


def test_an_object_whose_signed_address_has_not_come_is_waited_for(machine):
    """It comes by the inbox, as those of uploads do."""
    one = machine(inbox=True)
    one.s3.put_object(Bucket=one.bucket, Key="x", Body=b"late")
    job = a_job(command="cat x", inputs=[{"path": "x", "s3": "s3://theirs/x"}])
    one.manifest["hosts"][0]["assignments"] = [job]
    one.start()
    one.wait("hello")
    one.write_inbox(1, [{**job, "urls": {"s3://theirs/x": signed(one, "x")}}])
    assert one.wait("finish")["log"]["text"] == "late"


def test_parameters_are_a_file_and_the_plain_ones_variables(machine):
    """A program reads what it likes better; what the job's own environment says wins."""
    parameters = {"exercise": 3, "late-days": 1.5, "strict": True, "who": "ä b", "tests": ["a"], "none": None}
    command = 'env | grep ^SPILLWAY_PARAM | sort; python3 -c \'import json; print(json.load(open("parameters.json"))["tests"])\''
    job = a_job(command=command, parameters=parameters, environment={"SPILLWAY_PARAM_WHO": "me"})
    finish = machine(assignments=[job]).start().wait("finish")
    assert finish["log"]["text"].splitlines() == [
        "SPILLWAY_PARAM_EXERCISE=3",
        "SPILLWAY_PARAM_LATE_DAYS=1.5",
        "SPILLWAY_PARAM_STRICT=true",
        "SPILLWAY_PARAM_WHO=me",
        "['a']",
    ]


def test_a_job_gets_the_disk_that_it_asked_for_and_no_more(machine):
    """More than the pool's usual for one, less for the other, on the same host."""
    command = "head -c 30000000 /dev/zero > a; head -c 30000000 /dev/zero > b; sleep 3; ls"
    jobs = [a_job("job-small", command, disk_mib=40), a_job("job-large", command, disk_mib=100)]
    one = machine(assignments=jobs, settings={"work_limit_bytes": 50 << 20}).start()
    small, large = one.wait("finish", "job-small"), one.wait("finish", "job-large")
    assert small["reason"].startswith("killed: its work folder grew beyond 40 MiB"), small
    assert large["outcome"] == "succeeded", large


def test_an_archive_that_does_not_fit_onto_the_jobs_disk_is_refused(machine):
    """Counted while it is written: what its header says is its author's word."""
    one = machine()
    sha256, url = one.put_input(an_archive(big="x" * 3_000_000))
    inputs = [{"path": "x", "sha256": sha256, "unpack": True}]
    one.manifest["hosts"][0]["assignments"] = [a_job(inputs=inputs, urls={sha256: url}, disk_mib=2)]
    assert "more than 2097152 bytes" in one.start().wait("refused")["reason"]


def test_outputs_are_told_with_the_names_that_the_job_gave_them(machine):
    """The first pattern that a file matches names it; a named one that matched nothing is told."""
    command = "mkdir out; echo a > out/a.html; echo b > out/b.txt"
    wanted = [{"glob": "out/*.html", "name": "report"}, "out/*", {"glob": "marks.csv", "name": "marks"}]
    finish = machine(assignments=[a_job(command=command, outputs=wanted)]).start().wait("finish")
    assert finish["outputs"] == [
        {"path": "out/a.html", "bytes": 2, "name": "report"},
        {"path": "out/b.txt", "bytes": 2},
    ]
    assert finish["reason"] == "exit code 0; it left no output 'marks' (marks.csv)"


VALUE = "s3cret-of-alice-41217"


def test_a_secret_is_in_the_commands_environment_and_nowhere_else_on_the_host(machine):
    """Not in an argument vector, not in the journal, not in any file of ours; also a value that a shell would read."""
    hard = 'it\'s $HOME `id` \\ "x"\nsecond line'
    command = 'printf \'%s|%s\' "$TOKEN" "$HARD"; env | grep -c SPILLWAY_SECRET; while [ ! -e go ]; do sleep 0.05; done'
    job = a_job(command=command, secrets={"TOKEN": "ssm:token", "HARD": "secretsmanager:a/b"})
    one = machine(inbox=True, assignments=[job]).start()
    one.wait("hello")
    one.write_inbox(1, [{**job, "values": {"ssm:token": VALUE, "secretsmanager:a/b": hard}}])
    one.wait("start")
    one.until(lambda: one.log("job-1"))
    assert not processes_with(VALUE)
    state = one.root / "var/lib/spillway"
    for path in state.rglob("*"):
        if path.is_file() and path.parts[-2:] != ("job-1.1", "log"):
            assert VALUE.encode() not in path.read_bytes(), path
    (state / "work/job-1.1/work/go").touch()
    finish = one.wait("finish")
    assert finish["log"]["text"] == f"{VALUE}|{hard}0\n"
    assert VALUE not in one.said()


def test_a_secret_that_does_not_come_is_asked_for_again(machine):
    """An agent that was started again has forgotten it: values are only ever in memory."""
    job = a_job(command="echo got $TOKEN", secrets={"TOKEN": "ssm:token"})
    one = machine()
    one.start()
    one.wait("hello")
    one.write_inbox(1, [job])
    one.ring()
    refused = one.wait("refused")
    assert (refused["why"], refused["reason"]) == ("urls_missing", "no value came for the secret ssm:token")
    one.write_inbox(2, [job])
    one.ring()
    one.write_inbox(3, [{**job, "values": {"ssm:token": "now"}}])
    one.ring()
    assert one.wait("finish")["log"]["text"] == "got now\n"
    assert len(one.pings("refused")) == 1


def test_a_pool_without_a_sandbox_hands_secrets_over_too(machine):
    """By the environment of the process itself."""
    job = a_job(command="echo got $TOKEN", untrusted=False, secrets={"TOKEN": "ssm:token"}, values={"ssm:token": VALUE})
    one = machine(assignments=[], settings={"sandbox": "none"}).start()
    one.wait("hello")
    one.write_inbox(1, [job])
    one.ring()
    assert one.wait("finish")["log"]["text"] == f"got {VALUE}\n"
