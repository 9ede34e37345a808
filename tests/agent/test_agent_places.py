"""The same agent in other surroundings: inside a machine of namespaces, on Python 3.9, with eight jobs at once."""

import os
import resource
import shutil
import subprocess
from pathlib import Path

import pytest
from agent_machine import a_job, processes_with

from bench.sandbox import overhead, pairs

pytestmark = pytest.mark.usefixtures("sandboxed")
UNSHARE = ("unshare", "--pid", "--mount", "--uts", "--ipc", "--mount-proc", "--fork", "--kill-child=TERM")


def python_3_9():
    found = [*map(str, (Path.home() / ".pyenv/versions").glob("3.9.*/bin/python3.9")), shutil.which("python3.9")]
    return next(filter(None, found), None)


@pytest.mark.parametrize("user", [(), ("--user", "--map-root-user")])
def test_an_agent_inside_a_machine_of_namespaces_still_has_its_sandbox(machine, user):
    """As root, and as root of a user namespace only: bubblewrap nests, and the job is nobody outside."""
    within = (*UNSHARE, *user)
    if subprocess.run([*within, "true"], capture_output=True).returncode != 0:
        pytest.skip("this machine does not let its users make namespaces")
    one = machine(assignments=[a_job(command="id -u; bash -c 'exec 3<>/dev/tcp/127.0.0.1/9' || echo held")])
    one.start(*within)
    finish = one.wait("finish")
    assert one.pings("hello")[0]["sandbox"] == "bwrap"
    assert finish["outcome"] == "succeeded", finish
    assert finish["log"]["text"].splitlines()[0] != "0"
    assert "held" in finish["log"]["text"]
    one.kill()  # unshare keeps other signals to itself; the agent inside gets its TERM from the kernel


def test_the_agent_runs_on_python_3_9(machine):
    """Amazon Linux 2023 has no newer one of its own."""
    python = python_3_9()
    if python is None:
        pytest.skip("there is no Python 3.9 on this machine: only the syntax is checked")
    sha = "0" * 64
    one = machine(
        assignments=[a_job(command="echo '{}' > r; echo x > o", result="r", outputs=["o"]), a_job("job-2", "sleep 9")]
    )
    one.start(python=python)
    assert one.wait("finish", "job-1")["outcome"] == "succeeded"
    job = a_job("job-3", inputs=[{"path": ".", "sha256": sha, "unpack": True}], urls={sha: one.metadata.url})
    one.write_inbox(1, [job], cancel=[{"job": "job-2", "attempt": 1}])
    assert one.ring().returncode == 0
    assert one.wait("finish", "job-2")["outcome"] == "cancelled"
    assert one.wait("refused", "job-3")["why"] == "urls_expired"


def test_the_sandbox_costs_a_job_some_milliseconds(tmp_path):
    """In processor time, which others on the machine do not take; `python -m bench.sandbox` has the figure by the clock."""
    tmp_path.chmod(0o711)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = pairs(tmp_path, 7)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert overhead(found)["overhead_ms"] > 0
    assert used_s / len(found) < 0.04


def test_eight_jobs_at_once_need_little_memory(machine):
    """The agent's own memory stays under 40 MB, so that a small host is the jobs'."""
    jobs = [a_job(f"job-{n}", "head -c 3000000 /dev/zero; sleep 3") for n in range(8)]
    one = machine(assignments=[{**job, "cpu": 0.1} for job in jobs], settings={"slots": 8}).start()
    for n in range(8):
        one.wait("start", f"job-{n}")
    one.wait("alive", count=2)
    status = Path(f"/proc/{one.process.pid}/status").read_text()
    peak_kib = int(status.split("VmHWM:")[1].split()[0])
    assert peak_kib < 40 * 1024, peak_kib
    one.kill(15)


@pytest.mark.parametrize("setting", ["auto", "none"])
def test_without_a_sandbox_only_trusted_jobs_run_and_only_where_the_pool_says_so(machine, setting):
    """`none` is asked for by name; an untrusted job runs in a sandbox or not at all."""
    within = ("unshare", "--mount", "sh", "-c", 'mount --bind /dev/null "$(command -v bwrap)"; exec "$@"', "sh")
    if os.geteuid() != 0 or subprocess.run([*within, "true"], capture_output=True).returncode != 0:
        pytest.skip("hiding bubblewrap needs root")
    daemon = "setsid sh -c 'while :; do sleep 33.33; done' & echo $HOME"
    jobs = [a_job("job-1"), a_job("job-2", daemon, untrusted=False)]
    one = machine(assignments=jobs, settings={"sandbox": setting}).start(*within)
    refused = one.wait("refused", "job-1")
    if setting == "auto":
        assert "bubblewrap" in one.wait("refused", "job-2")["reason"]
        assert "bubblewrap" in one.wait("alive")["problems"][0]
        return
    finish = one.wait("finish", "job-2")
    assert refused["why"] == "no_sandbox"
    assert refused["reason"] == "the pool runs commands without a sandbox, and the job is not trusted"
    assert finish["outcome"] == "succeeded"
    assert finish["log"]["text"].startswith(str(one.root))
    assert one.pings("hello")[0]["sandbox"] == "none"
    assert not processes_with("33.33")
