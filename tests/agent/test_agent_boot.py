"""From user data to the first ping."""

import gzip
import json
import os
import subprocess
import time

from agent_machine import a_job

from agent.build import boot_script
from agent.cgroups import JOBS_UNIT

EMPTY = "MANIFEST = r'''{}'''"


def user_data(manifest):
    """As docs/contracts.md §4 makes it."""
    script = boot_script()
    assert script.count(EMPTY) == 1
    return script.replace(EMPTY, "MANIFEST = r'''" + json.dumps(manifest).replace("'", "\\u0027") + "'''")


def test_user_data_boots_an_agent_that_says_hello_and_runs_its_job(machine, built_agent):
    """One process: the script fetches and checks the agent and becomes it."""
    one = machine(assignments=[a_job(command="echo 'it''s me'; sleep 0.01")], settings={"sandbox": "auto"})
    one.s3.put_object(Bucket=one.bucket, Key=f"agent/{built_agent.sha256}.pyz", Body=built_agent.path.read_bytes())
    script = one.root / "user-data"
    script.write_text(user_data(one.manifest))
    started = time.time()
    done = subprocess.run(["/usr/bin/env", "python3", str(script)], env=one.environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    try:
        finish = one.wait("finish", "job-1")
        hello = one.pings("hello")[0]
        assert finish["log"]["text"] == "its me\n"
        assert hello["agent_sha256"] == built_agent.sha256
        assert hello["at"] - started < 3, "generous: the machine is shared; alone it takes about 0.2 s"
    finally:
        one.write_inbox(1, stop="the test is over")
        assert one.ring().returncode == 0
        one.wait("bye")
    one.until(lambda: (one.root / "shutdown").exists())
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if str(script).encode() in file.read():
                    os.kill(int(pid), 9)
        except OSError:
            pass


def test_an_agent_with_another_hash_is_not_started(machine, built_agent):
    """What the bucket holds must be what the manifest names."""
    one = machine()
    one.s3.put_object(Bucket=one.bucket, Key=f"agent/{built_agent.sha256}.pyz", Body=b"something else")
    script = one.root / "user-data"
    script.write_text(user_data(one.manifest))
    process = subprocess.Popen(["python3", str(script)], env=one.environment, stderr=subprocess.PIPE, text=True)
    try:
        assert "is not the one that the manifest names" in process.stderr.readline()
        assert not (one.root / "opt/spillway/agent.pyz").exists()
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def test_user_data_for_twenty_hosts_fits_with_room():
    """EC2 takes 16,384 bytes; the launch planner can count on half of that being free with twenty usual jobs."""
    jobs = [
        a_job(
            f"job-01HV{n:022d}",
            "python3 grader/run.py --student alice --assignment primes",
            inputs=[{"path": "grader", "sha256": os.urandom(32).hex(), "unpack": True}],
            outputs=["report/*.html"],
            result="result.json",
        )
        for n in range(20)
    ]
    manifest = {"hosts": [{"host": f"host-{n}", "assignments": [jobs[n]], "inbox": True} for n in range(20)]}
    size = len(gzip.compress(user_data(manifest).encode(), 9))
    assert size < 8192, size


def test_where_there_is_systemctl_the_agent_becomes_a_service(machine, built_agent):
    """Enabled and started, restarted always; where systemctl fails the agent starts all the same."""
    one = machine()
    one.s3.put_object(Bucket=one.bucket, Key=f"agent/{built_agent.sha256}.pyz", Body=built_agent.path.read_bytes())
    systemctl = one.root / "bin/systemctl"
    systemctl.write_text(f'#!/bin/sh\necho "$@" >> {one.root}/asked\n')
    systemctl.chmod(0o755)
    script = one.root / "user-data"
    script.write_text(user_data(one.manifest))
    subprocess.run(["python3", str(script)], env=one.environment, check=True)
    assert (one.root / "asked").read_text() == "daemon-reload\nenable --now spillway-agent\n"
    unit = (one.root / "etc/systemd/system/spillway-agent.service").read_text()
    assert f"{one.root}/opt/spillway/agent.pyz run\n" in unit
    assert f"\nEnvironment=SPILLWAY_ROOT={one.root}\n" in unit
    assert "\nRestart=always\n" in unit
    assert "\nKillMode=process\n" in unit, "an agent that ends leaves what it runs to the next one"
    jobs = (one.root / "etc/systemd/system" / JOBS_UNIT).read_text()
    assert JOBS_UNIT in unit
    assert "\nDelegate=yes\n" in jobs
