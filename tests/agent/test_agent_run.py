"""The real agent, the real sandbox, real commands, moto's AWS."""

import pytest
from agent_machine import a_job

pytestmark = pytest.mark.usefixtures("sandboxed")


def test_a_job_from_the_user_data_runs_to_its_result(machine):
    """hello, accepted, claim, start, finish with log, result and outputs, idle: in this order, and each once."""
    command = "echo hello from $SPILLWAY_JOB; cat params.json; mkdir -p report/x; echo hi > report/a.html; id -u; pwd; "
    command += "echo x > report/b.txt; ln -s /etc/passwd report/c.html; echo '{\"mark\": 1}' > result.json; ps ax; env"
    job = a_job(
        command=command,
        inputs=[{"path": "params.json", "text": '{"a": 1}\n'}],
        outputs=["report/*.html"],
        result="result.json",
        environment={"COLOUR": "blue"},
    )
    one = machine(assignments=[job]).start()
    finish = one.wait("finish")
    one.wait("idle")
    assert [p["kind"] for p in one.pings() if p["kind"] != "alive"] == ["hello", "accepted", "start", "finish", "idle"]
    assert one.pings("hello")[0]["sandbox"] == "bwrap"
    assert finish["outcome"] == "succeeded", finish
    assert finish["exit_code"] == 0
    assert finish["result"] == {"mark": 1}
    assert finish["outputs"] == [{"path": "report/a.html", "bytes": 3}]
    assert "hello from job-1\n" in finish["log"]["text"]
    assert "COLOUR=blue" in finish["log"]["text"]
    assert "AWS_" not in finish["log"]["text"]
    assert one.claims() == {"job-1#1": "agent"}
    key = f"hosts/{one.userid}/job-1/1/out/report/a.html"
    assert one.s3.get_object(Bucket=one.bucket, Key=key)["Body"].read() == b"hi\n"
    assert one.unauthorised == 0
    assert list((one.root / "var/lib/spillway/work").iterdir()) == [one.root / "var/lib/spillway/work/.probe"]


def test_a_command_that_fails_says_so(machine):
    """Exit code and signal as a shell tells them; a result that is missing is told, and is no failure of ours."""
    jobs = [a_job("job-code", "exit 3", result="none.json"), a_job("job-signal", "kill -SEGV $$")]
    one = machine(assignments=jobs).start()
    code, by_signal = one.wait("finish", "job-code"), one.wait("finish", "job-signal")
    assert (code["outcome"], code["exit_code"], code["signal"]) == ("failed", 3, None)
    assert code["reason"] == "exit code 3; it wrote no result 'none.json'"
    assert code["result"] is None
    assert (by_signal["outcome"], by_signal["exit_code"], by_signal["signal"]) == ("failed", 139, 11)
    assert by_signal["reason"] == "died of signal 11 (SIGSEGV)"


def test_output_without_end_is_drained_cut_and_said(machine):
    """200 MB are printed at the command's own pace; the log is its first part and a last line, in S3, in chunks."""
    command = "head -c 200000000 /dev/zero | tr '\\0' x; echo end"
    one = machine(assignments=[a_job(command=command, timeout_s=60)], settings={"log_limit_bytes": 600000}).start()
    finish = one.wait("finish", timeout_s=60)
    log = one.log("job-1")
    assert finish["outcome"] == "succeeded", finish
    assert finish["log"] == {"bytes": len(log), "cut": True, "text": None}
    assert len(log) <= 600000
    assert log.endswith(b"\n[spillway: the log was cut here; 200000004 bytes came, at most 600000 are kept]\n")
    assert log.startswith(b"xxxx")


def test_a_long_log_can_be_read_while_the_command_runs(machine):
    """The first chunk holds everything from the beginning."""
    command = "head -c 10000 /dev/zero | tr '\\0' y; while [ ! -e /job/go ]; do sleep 0.05; done"
    one = machine(assignments=[a_job(command=command)]).start()
    one.wait("start")
    one.until(lambda: one.log("job-1") == b"y" * 10000)
    work = one.root / "var/lib/spillway/work/job-1.1/work"
    (work / "go").touch()
    finish = one.wait("finish")
    assert finish["log"] == {"bytes": 10000, "cut": False, "text": None}


def test_a_short_log_can_be_read_while_the_command_runs_too(machine):
    """What a slow command has printed is there some seconds later, and travels once more in the finish ping."""
    command = "echo early; while [ ! -e /job/go ]; do sleep 0.05; done; echo late"
    one = machine(assignments=[a_job(command=command)]).start()
    one.until(lambda: one.log("job-1") == b"early\n")
    (one.root / "var/lib/spillway/work/job-1.1/work/go").touch()
    finish = one.wait("finish")
    assert finish["log"] == {"bytes": 11, "cut": False, "text": "early\nlate\n"}


def test_what_does_not_fit_waits_in_order(machine):
    """More assignments than slots: all are accepted at once, and never more run than fit."""
    jobs = [a_job(f"job-{n}", "sleep 0.2") for n in range(5)]
    one = machine(assignments=jobs, settings={"slots": 2}).start()
    for n in range(5):
        one.wait("finish", f"job-{n}")
    kinds = [(p["kind"], p.get("job")) for p in one.pings() if p["kind"] in ("accepted", "start", "finish")]
    assert [job for kind, job in kinds if kind == "accepted"] == [f"job-{n}" for n in range(5)]
    assert max(kinds.index(("accepted", f"job-{n}")) for n in range(5)) < kinds.index(("finish", "job-0"))
    running = 0
    for kind, _ in kinds:
        running += {"start": 1, "finish": -1}.get(kind, 0)
        assert running <= 2
    seqs = [message["seq"] for message in one.messages]
    assert seqs == sorted(seqs)
