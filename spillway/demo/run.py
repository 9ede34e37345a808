"""The demo, start to end.

    embedded cloud up ┐
    package built     ┴ bootstrap → chalice deploy → uploads → one cold batch by HTTP → some by the queue → warm ones, one by one
        → the fleet shrinks to nothing → counters are read → everything stops → report.json

It is a client like any other: it submits through the deployed API and queue, and counts through EC2's own API and the
embedded cloud's counters. Cold and warm times run from just before the request leaves until the job's `started_at`;
both clocks are this machine's. Whatever happens - a wrong mark, an error, ctrl-C, SIGTERM - the embedded cloud is stopped before
the process ends, and what then still lives is counted. With `keep` it is left running, but only by a demo that came to its end.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from spillway.client import Client
from spillway.demo.cases import Case, Mark, read_cases, runnable, specs, split
from spillway.demo.embedded import Deployment, Embedded
from spillway.demo.figures import Report, by_state, calls, cold_starts_ms, median_ms, submit_to_start_ms
from spillway.demo.screen import Screen
from spillway.errors import SpillwayError, WaitTimedOut
from spillway.records import Job

POOL = "demo"
WARM_JOBS = 10
JOBS_WAIT_S = 240.0
FLEET_WAIT_S = 60.0
POLL_S = 0.4  # every look costs this machine a function call
# Ten of Nitro's small machines would do; one slot each makes twenty submissions twenty cold starts.
POOL_SPEC: dict[str, Any] = {
    "offerings": [
        {"region": "us-east-1", "instance_type": "c7i.large", "market": "spot"},
        {"region": "us-east-1", "instance_type": "m7i.large", "market": "on_demand"},
    ],
    "hosts_max": 24,
    "slots_per_host": 1,
    "linger_s": 120,
}


@dataclass
class Seen:
    """What the demo has gathered so far."""

    marks: list[Mark] = field(default_factory=list)
    submitted: dict[str, float] = field(default_factory=dict)  # job id → epoch seconds just before the request
    cold: list[Job] = field(default_factory=list)
    warm: list[Job] = field(default_factory=list)
    batch_run_instances_calls: int = 0


def demo(root: Path, state: Path, screen: Screen, keep: Path | None = None) -> Report:
    """Run it with the repository at `root` and everything it writes below `state`; the report, also written there.

    `keep`: the folder of an embedded cloud that stays up when the demo has ended. The marks are printed in every case, as far as they
    are known.

    Raises SpillwayError where a step fails, KeyboardInterrupt when stopped; the embedded cloud is down then, also with `keep`.
    """
    state.mkdir(parents=True, exist_ok=True)
    (state / "report.json").unlink(missing_ok=True)
    folder = root / "examples" / "grading"
    cases, skipped = runnable(read_cases(folder))
    for why in dict.fromkeys(skipped.values()):
        names = [name for name in skipped if skipped[name] == why]
        screen.say(f"Skipped {len(names)}, {why}: {', '.join(names)}")
    cloud = Embedded(root, state, screen.detail, keep)
    processes_left: int | None = None
    kept = False
    seen = Seen()
    with _stoppable():
        try:
            with _meanwhile(cloud.build_package) as packaged:
                screen.say("Starting the embedded cloud, building the Lambda package")
                cloud.start()
                deploy_began = time.monotonic()
                screen.say("Bootstrapping the stage: tables, queues, bucket, roles, launch template, agent")
                cloud.bootstrap()
                packaged()
                screen.say("Deploying with chalice")
                deployment = cloud.deploy()
            deploy_s = time.monotonic() - deploy_began
            with Client(deployment.api_url, deployment.token) as spillway:
                _grade(spillway, cloud, deployment, folder, cases, seen, screen)
                launched, left = _shrink(spillway, cloud, screen)
                if keep:
                    spillway.put_pool(POOL, POOL_SPEC)
            counters = cloud.counters()
            kept = keep is not None
        finally:
            with _unstoppable():
                screen.marks(seen.marks)
                if cloud.started and not kept:
                    screen.say("Stopping the embedded cloud")
                    processes_left = cloud.stop()
    report = Report(
        jobs=len(seen.marks) + len(seen.warm),
        by_state=by_state([m.job for m in seen.marks] + seen.warm),
        instances_launched=launched,
        run_instances_calls=calls(counters, "ec2", "RunInstances"),
        instances_left=left,
        warm_submit_to_start_ms_p50=median_ms(submit_to_start_ms(seen.submitted, seen.warm)),
        cold_submit_to_start_ms_p50=median_ms(submit_to_start_ms(seen.submitted, seen.cold)),
        deploy_s=round(deploy_s, 2),
        total_s=round(screen.elapsed_s, 2),
        lambda_cold_start_ms_p50=median_ms(cold_starts_ms(counters)),
        batch_jobs=len(seen.cold),
        batch_run_instances_calls=seen.batch_run_instances_calls,
        warm_jobs=len(seen.warm),
        warm_submit_to_start_ms=submit_to_start_ms(seen.submitted, seen.warm),
        lambda_cold_starts=len(cold_starts_ms(counters)),
        processes_left=processes_left,
        marks_wrong=_wrong(seen),
        skipped=skipped,
    )
    report.write(state / "report.json")
    return report


def _grade(
    spillway: Client,
    cloud: Embedded,
    deployment: Deployment,
    folder: Path,
    cases: Sequence[Case],
    seen: Seen,
    screen: Screen,
) -> None:
    """Submit everything and wait for it."""
    spillway.put_pool(POOL, POOL_SPEC)
    wanted = specs(spillway, folder, cases, POOL)
    by_http, by_queue = split(cases)
    by_name = {case.name: case for case in cases}

    screen.say(f"Submitting {len(by_http)} jobs in one request to a pool without hosts")
    calls_before = calls(cloud.counters(), "ec2", "RunInstances")
    at = time.time()
    accepted = spillway.submit_many([wanted[case.name] for case in by_http])
    seen.submitted |= {job.id: at for job in accepted}
    seen.cold = _wait(spillway, [job.id for job in accepted], "Grading", screen)
    seen.marks = [Mark(by_name[str(job.name)], job) for job in seen.cold]
    seen.batch_run_instances_calls = calls(cloud.counters(), "ec2", "RunInstances") - calls_before

    if by_queue:
        screen.say(f"Sending {len(by_queue)} more to the submissions queue")
        run = uuid.uuid4().hex[:8]
        for case in by_queue:
            message = {**wanted[case.name], "idempotency_key": f"demo-{run}-{case.name}"}
            cloud.aws("sqs").send_message(QueueUrl=deployment.submissions_url, MessageBody=json.dumps(message))
        ids = _appeared(spillway, {case.name for case in by_queue})
        seen.marks += [Mark(by_name[str(job.name)], job) for job in _wait(spillway, ids, "Grading", screen)]

    again = next((case for case in cases if case.name == "roman/right"), cases[0])
    screen.say(f"Submitting {WARM_JOBS} jobs one after another to hosts that are warm")
    for number in range(WARM_JOBS):
        spec = {**wanted[again.name], "name": f"warm/{number}"}
        at = time.time()
        job = spillway.submit_spec(spec)
        seen.submitted[job.id] = at
        seen.warm += spillway.wait([job.id], timeout_s=JOBS_WAIT_S, poll_max_s=0.3)


def _wait(spillway: Client, ids: list[str], title: str, screen: Screen) -> list[Job]:
    with screen.jobs(title, len(ids)) as progress:
        return spillway.wait(ids, timeout_s=JOBS_WAIT_S, on_change=progress.seen, poll_min_s=1, poll_max_s=1)


def _appeared(spillway: Client, names: set[str]) -> list[str]:
    """The ids of the jobs that the queue's messages became, found by their names."""
    deadline = time.monotonic() + 60
    while True:
        found = {job.name: job.id for job in spillway.list_jobs(POOL, limit=100) if job.name in names}
        if len(found) == len(names):
            return list(found.values())
        if time.monotonic() > deadline:
            missing = sorted(names - {str(name) for name in found})
            raise WaitTimedOut(f"The submissions queue has not become jobs after 60 s: {', '.join(missing)}.", missing)
        time.sleep(POLL_S)


def _shrink(spillway: Client, cloud: Embedded, screen: Screen) -> tuple[int, int]:
    """Let idle hosts go at once and wait until none is left: (instances launched in all, instances left)."""
    screen.say("Waiting until the fleet is back at zero")
    spillway.put_pool(POOL, {**POOL_SPEC, "linger_s": 0})
    deadline = time.monotonic() + FLEET_WAIT_S
    while True:
        states = cloud.instance_states()
        left = max(sum(state != "terminated" for state in states), len(cloud.machines_alive()))
        if left == 0 or time.monotonic() > deadline:
            return len(states), left
        time.sleep(POLL_S)


def _wrong(seen: Seen) -> dict[str, str]:
    wrong = {mark.case.name: mark.wrong for mark in seen.marks if mark.wrong}
    for job in seen.warm:
        score = job.result.get("score") if isinstance(job.result, dict) else None
        if job.state != "succeeded" or score != 10:
            wrong[str(job.name)] = f"the job is {job.state} with {score} points, not succeeded with 10"
    return wrong


def verdict(report: Report) -> list[str]:
    """Every reason why this run was not good; empty if it was."""
    reasons = [f"{name}: {why}" for name, why in report.marks_wrong.items()]
    if report.instances_left:
        reasons.append(f"{report.instances_left} instances were left when the wait for an empty fleet ended")
    if report.processes_left:
        reasons.append(f"{report.processes_left} processes were left after the embedded cloud was stopped")
    return reasons


@contextmanager
def _meanwhile(work: Callable[[], None]) -> Iterator[Callable[[], None]]:
    """Run `work` beside the block; the yielded function waits for it and raises what it raised."""
    problem: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:  # handed over to the thread that asks
            problem.append(error)

    thread = threading.Thread(target=guarded, daemon=True)
    thread.start()

    def done() -> None:
        thread.join()
        if problem:
            raise problem[0]

    yield done


@contextmanager
def _stoppable() -> Iterator[None]:
    """SIGINT, SIGTERM and a closed terminal all end the demo in the same way.

    A shell starts background jobs with SIGINT ignored; whoever sends it to this one means it. An ignored SIGHUP is `nohup`.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signals = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signals.append(signal.SIGHUP)
    before = {number: signal.signal(number, stop) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _unstoppable() -> Iterator[None]:
    """A second ctrl-C must not leave behind what the first one stops."""
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def dummy_credentials() -> None:
    """No call of this process, or of one it starts, may reach a real account, whatever the user has configured."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "demo",
        "AWS_SECRET_ACCESS_KEY": "demo",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


__all__ = ["SpillwayError", "demo", "dummy_credentials", "verdict"]
