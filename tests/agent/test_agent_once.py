"""At most once, whatever dies in between; and what an inbox may change."""

import hashlib
import json
import signal

import psutil
import pytest
from agent_machine import Web, a_job, processes_with

pytestmark = pytest.mark.usefixtures("sandboxed")


def the_order(one, job):
    return [p["kind"] for p in one.pings(job=job) if p["kind"] != "progress"]


def test_a_lost_claim_is_refused_and_nothing_runs(machine):
    """The control plane won the claim first: the attempt is forgotten."""
    one = machine(assignments=[a_job(command="echo ran > /tmp/ran")])
    one.claim_first("job-1")
    one.start()
    refused = one.wait("refused", "job-1")
    one.wait("idle")
    assert refused["why"] == "claim_lost"
    assert refused["reason"] == "the control plane took the attempt back before it began"
    assert the_order(one, "job-1") == ["accepted", "refused"]
    assert one.claims() == {"job-1#1": "control"}


def test_a_finish_that_was_not_delivered_is_sent_after_the_restart(machine):
    """The heartbeat queue is gone while the attempt ends; the journal keeps the ping."""
    one = machine(assignments=[a_job(command="while [ ! -e /job/go ]; do sleep 0.02; done; echo done")]).start()
    one.wait("start")
    broken, one.queue_name = one.queue, one.queue.rpartition("/")[2]
    one.sqs.delete_queue(QueueUrl=broken)
    (one.root / "var/lib/spillway/work/job-1.1/work/go").touch()
    journal = one.root / "var/lib/spillway/journal"
    one.until(lambda: '"e":"finished"' in journal.read_text())
    one.kill()
    one.sqs.create_queue(QueueName=one.queue_name)
    one.start()
    finish = one.wait("finish", "job-1")
    assert (finish["outcome"], finish["log"]["text"]) == ("succeeded", "done\n")
    one.until(lambda: '"e":"settled"' in journal.read_text())


def test_a_claim_whose_answer_was_lost_is_still_ours(machine):
    """The journal says `claiming`, the claim is there and by an agent, nothing was executed: it may begin."""
    job = a_job(command="echo once")
    one = machine()
    one.install()
    one.claim_first("job-1", by="agent")
    line = json.dumps({"e": "claiming", "key": "job-1#1", "assignment": job})
    (one.root / "var/lib/spillway/journal").write_text(line + '\n{"e":"begun","key":"job-1#1"')
    one.start()
    finish = one.wait("finish", "job-1")
    assert (finish["outcome"], finish["log"]["text"]) == ("succeeded", "once\n")


def test_what_is_refused_though_an_earlier_agent_may_have_the_claim_is_said_never_to_have_begun(machine):
    """Else nobody could take it back: the claim is held, and only the journal knows that nothing was executed."""
    one = machine(settings={"sandbox": "none"}, assignments=[a_job("job-3", domain="alice")])  # it needs a sandbox
    one.install()
    jobs = [a_job("job-1", domain="alice"), a_job("job-2", domain="bob")]
    lines = [{"e": "claiming", "key": job["job"] + "#1", "assignment": job} for job in jobs]
    journal = one.root / "var/lib/spillway/journal"
    journal.write_text("".join(json.dumps(line) + "\n" for line in [{"e": "domain", "domain": "alice"}, *lines]))
    one.start()
    said = {job: one.wait("refused", job) for job in ("job-1", "job-2", "job-3")}
    assert {job: (p["why"], p.get("unbegun")) for job, p in said.items()} == {
        "job-1": ("no_sandbox", True),
        "job-2": ("other_domain", True),
        "job-3": ("no_sandbox", None),
    }
    assert {json.loads(line)["key"] for line in journal.read_text().splitlines() if '"settled"' in line} == {
        "job-1#1",
        "job-2#1",
        "job-3#1",
    }


def test_an_attempt_that_a_lost_journal_knew_is_not_repeated(machine):
    """The claim is by this host, and nothing here says whether it began: then it may have."""
    one = machine(assignments=[a_job(command="echo again")])
    one.claim_first("job-1", by="agent")
    one.start()
    finish = one.wait("finish", "job-1")
    assert finish["outcome"] == "infrastructure"
    assert "the journal does not say" in finish["reason"]
    assert the_order(one, "job-1") == ["accepted", "finish"]


def test_a_claim_that_is_sent_twice_by_one_call_is_won(machine, agent_aws_url):
    """The first answer was lost on the way: what holds it is what was just written."""
    from agent.aws import Aws
    from agent.sigv4 import Credentials

    one = machine()
    aws = Aws(lambda: Credentials("k", "s", "t", 0.0), "us-east-1", endpoint=agent_aws_url)
    answers = [aws.claim(one.table, one.userid, "job-1#1", at, 2000000000) for at in (1.25, 1.25, 1.5)]
    assert [(a.won, a.held_by, a.own) for a in answers] == [
        (True, "agent", True),
        (False, "agent", True),
        (False, "agent", False),
    ]


def test_the_doorbell_brings_new_assignments_and_old_documents_are_ignored(machine):
    """Level-triggered: known attempts are ignored, a lower pass_no is ignored, everything else is news."""
    one = machine().start()
    one.wait("idle")
    one.write_inbox(5, [a_job("job-a", "echo a")])
    assert one.ring().returncode == 0
    one.wait("finish", "job-a")
    one.write_inbox(4, [a_job("job-old", "echo old")])
    one.ring()
    one.write_inbox(6, [a_job("job-a", "echo again"), a_job("job-b", "echo b"), a_job("job-b", "echo twice")])
    one.ring()
    assert one.wait("finish", "job-b")["log"]["text"] == "b\n"
    one.wait("idle", count=3)
    assert len(one.pings("start", "job-a")) == 1
    assert not one.pings(job="job-old")


def test_ringing_where_no_agent_is_fails_with_a_sentence(machine):
    """Run Command shows it to the operator."""
    one = machine()
    one.install()
    done = one.ring()
    assert done.returncode == 1
    assert "is it running on this host?" in done.stderr


def test_a_running_attempt_is_cancelled_by_the_inbox(machine):
    """TERM first; the outcome is cancelled, whatever the exit code."""
    one = machine(assignments=[a_job(command="trap 'echo bye; exit 0' TERM; while :; do sleep 0.05; done")]).start()
    one.wait("start")
    one.write_inbox(1, cancel=[{"job": "job-1", "attempt": 1}])
    one.ring()
    finish = one.wait("finish")
    assert finish["outcome"] == "cancelled"
    assert finish["log"]["text"].endswith("bye\n")


def test_a_waiting_attempt_that_is_cancelled_never_begins(machine):
    """Whoever wins the claim says how it ended."""
    jobs = [a_job("job-1", "while [ ! -e go ]; do sleep 0.05; done"), a_job("job-2"), a_job("job-3")]
    one = machine(assignments=jobs, settings={"slots": 1})
    one.claim_first("job-3")
    one.start()
    one.wait("start", "job-1")
    one.write_inbox(1, cancel=[{"job": "job-2", "attempt": 1}, {"job": "job-3", "attempt": 1}])
    one.ring()
    assert one.wait("finish", "job-2")["outcome"] == "cancelled"
    assert one.wait("refused", "job-3")["why"] == "claim_lost"
    assert not one.pings("start", "job-2")


def test_inputs_come_by_signed_address_and_an_expired_one_is_replaced(machine):
    """403 from the store: refused before the claim, and taken again when the inbox brings another address."""
    one = machine()
    data = b"the input"
    sha256, url = one.put_input(data)
    store = Web(lambda *_: (403, b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"))
    job = a_job(command="cat in/put", inputs=[{"path": "in/put", "sha256": sha256}])
    one.manifest["hosts"][0].update(assignments=[job], inbox=True)
    one.start()
    one.wait("hello")
    one.write_inbox(1, [{**job, "urls": {sha256: store.url + "/x"}}])
    refused = one.wait("refused", "job-1")
    assert refused["why"] == "urls_expired"
    assert "Request has expired" in refused["reason"]
    assert one.claims() == {}
    one.write_inbox(2, [{**job, "urls": {sha256: url}}])
    one.ring()
    assert one.wait("finish", "job-1")["log"]["text"] == "the input"
    assert one.claims() == {"job-1#1": "agent"}
    store.close()


def test_an_input_with_other_content_is_bad_input(machine):
    """The hash is the name: what does not match is never given to the job."""
    one = machine()
    store = Web(lambda *_: (200, b"something else"))
    sha256 = hashlib.sha256(b"wanted").hexdigest()
    job = a_job(inputs=[{"path": "x", "sha256": sha256}], urls={sha256: store.url + "/x"})
    one.manifest["hosts"][0]["assignments"] = [job]
    one.start()
    refused = one.wait("refused", "job-1")
    assert refused["why"] == "bad_input"
    assert one.claims() == {}
    store.close()


def test_a_stopped_host_finishes_what_runs_and_ends(machine):
    """No new attempts; bye, then shutdown -h now."""
    one = machine(assignments=[a_job(command="sleep 0.5; echo through"), a_job("job-2")], settings={"slots": 1}).start()
    one.wait("start", "job-1")
    one.write_inbox(1, [a_job("job-new")], stop="the pool is being emptied")
    one.ring()
    bye = one.wait("bye")
    assert bye["reason"] == "told to stop: the pool is being emptied"
    assert one.pings("finish", "job-1")[0]["outcome"] == "succeeded"
    assert not one.pings("start", "job-2")
    assert not one.pings(job="job-new")
    one.until(lambda: (one.root / "shutdown").exists())
    assert (one.root / "shutdown").read_text() == "-h now\n"


@pytest.mark.parametrize(
    ("setting", "word"), [("idle_max_s", "idle"), ("lifetime_max_s", "life"), ("unreachable_max_s", "heard")]
)
def test_a_machine_ends_itself(machine, setting, word):
    """Idle, old, or cut off: nothing keeps costing money, even if every Lambda is broken."""
    one = machine(settings={setting: 1, "ping_every_s": 5})
    if setting == "unreachable_max_s":
        one.environment["AWS_ENDPOINT_URL"] = "http://127.0.0.1:9"
    one.start()
    one.until(lambda: (one.root / "shutdown").exists(), timeout_s=40)
    if setting != "unreachable_max_s":
        assert word in one.wait("bye")["reason"]


def test_sigterm_ends_the_run_as_infrastructure_and_leaves_nothing(machine):
    """A reboot asked for on the host is not the job's fault, and is told before the agent goes."""
    one = machine(assignments=[a_job(command="sleep 44.44")]).start()
    one.wait("start")
    one.kill(signal.SIGTERM)
    assert one.wait("finish")["outcome"] == "infrastructure"
    assert one.process.returncode == 0
    assert not processes_with("44.44")


def test_a_command_that_the_shutdown_ended_first_is_not_the_jobs_failure(machine):
    """A machine that ends signals everything in no certain order: the command may die before its agent hears of it."""
    one = machine(assignments=[a_job(command="exec sleep 55.55")]).start()
    one.wait("start")
    one.until(lambda: processes_with("55.55"))
    for process in psutil.process_iter(["cmdline"]):
        if "55.55" in (process.info["cmdline"] or []):
            process.terminate()
    one.process.terminate()
    finish = one.wait("finish")
    assert (finish["outcome"], finish["reason"]) == ("infrastructure", "killed: the agent on this host was stopped")


def test_a_command_that_ends_itself_by_a_signal_failed(machine):
    """… and is told as that, when nobody stopped the agent."""
    one = machine(assignments=[a_job(command="kill -TERM $$")]).start()
    assert one.wait("finish")["outcome"] == "failed"


def test_a_spot_interruption_is_told_once(machine):
    """Polled from metadata; what runs goes on."""
    one = machine()
    one.spot_action = '{"action": "terminate", "time": "2030-01-01T00:00:00Z"}'
    one.start()
    ping = one.wait("interrupted")
    assert (ping["action"], ping["interrupt_at"]) == ("terminate", 1893456000.0)


def test_a_rebalance_recommendation_is_passed_on(machine):
    """A hint: the agent decides nothing by it."""
    one = machine()
    one.rebalance = '{"noticeTime": "2030-01-01T00:00:00Z"}'
    one.start()
    assert one.wait("rebalance")["notice_at"] == 1893456000.0


def test_what_runs_learns_the_deadline_and_what_waits_does_not_begin(machine):
    """A file appears where $SPILLWAY_INTERRUPTION says; the attempt behind it is left to others, and the machine ends when nothing runs."""
    waits = 'until [ -e "$SPILLWAY_INTERRUPTION" ]; do sleep 0.05; done; cat "$SPILLWAY_INTERRUPTION"'
    one = machine(assignments=[a_job(command=waits), a_job("job-2", command="true")], settings={"slots": 1})
    one.start()
    one.wait("start")
    one.spot_action = '{"action": "terminate", "time": "2030-01-01T00:00:00Z"}'
    finish = one.wait("finish")
    assert finish["outcome"] == "succeeded"
    assert json.loads(finish["log"]["text"]) == {"interrupt_at": 1893456000.0, "action": "terminate"}
    assert one.wait("bye")["reason"] == "EC2 takes the machine back"
    assert [ping["job"] for ping in one.pings("start")] == [finish["job"]]
