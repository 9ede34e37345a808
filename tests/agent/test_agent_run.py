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
