"""The embedded cloud as the demo needs it: started, deployed to, asked for its counters, stopped for certain.

It runs as a child of its own session, so that ctrl-C in the terminal reaches the demo alone, which then stops it in order. Should the demo
itself be killed, the kernel tells the child (PR_SET_PDEATHSIG), and it stops as if asked. One that is to be kept is started as
`spillway local up --detach` starts it, so that `spillway local` finds it and stops it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spillway.errors import BadInput, Unreachable

STAGE, REGION = "local", "us-east-1"
START_WAIT_S = 60.0
STOP_WAIT_S = 30.0
PR_SET_PDEATHSIG = 1
Report = Callable[[str], None]


@dataclass(frozen=True)
class Deployment:
    """A deployed stage as a client needs it."""

    api_url: str
    token: str
    submissions_url: str


class Embedded:
    """One embedded cloud, with the staged project below `state`, whose package cache is kept from run to run.

    Its own folder is `state`/cloud, and thrown away at start; or `keep`, the folder of a cloud that outlives this process.
    """

    def __init__(self, root: Path, state: Path, report: Report, keep: Path | None = None) -> None:
        self._root = root
        self._keep = keep
        self._cloud_state = keep or state / "cloud"
        self._project = state / "project"
        self._report = report
        self._process: subprocess.Popen[bytes] | None = None
        self._seen: dict[int, float] = {}  # every process below it that was ever looked at: pid → start time
        self._bootstrapped: Any = None
        self._url = ""
        self._clients: dict[str, Any] = {}

    # -- up

    def start(self) -> None:
        """Start it and wait until it serves. Raises Unreachable with its last words, BadInput where one to keep already runs."""
        from localcloud import lifecycle

        if self._keep is None:
            with _as_ours():
                lifecycle.reset(self._cloud_state)
        elif lifecycle.status(self._cloud_state).running:
            raise BadInput(
                f"An embedded cloud already runs in {self._cloud_state}. "
                "Stop it with `spillway local down` first, or run the demo without --keep."
            )
        self._cloud_state.mkdir(parents=True, exist_ok=True)
        # It is the cloud's from here on: stopped before the cloud itself says so, the next demo must be able to clear it.
        (self._cloud_state / lifecycle.LOCK).touch()
        output = self._cloud_state / lifecycle.OUTPUT
        with output.open("wb") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "localcloud", "--state", str(self._cloud_state)]
                + (["--detached"] if self._keep else []),
                cwd=self._root,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=None if self._keep else _end_with_parent,
            )
        deadline = time.monotonic() + START_WAIT_S
        while not (found := lifecycle.status(self._cloud_state)).running:
            if self._process.poll() is not None or time.monotonic() > deadline:
                words = " / ".join(output.read_text(errors="replace").strip().splitlines()[-5:])
                raise Unreachable(f"The embedded cloud did not start. Its last words: {words or 'none'}.")
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.02)
        self._url = str(found.aws_endpoint_url)
        os.environ["AWS_ENDPOINT_URL"] = self._url
        self._look()

    def build_package(self) -> None:
        """Stage the project and build its Lambda package (from the cache, where the dependencies have not changed)."""
        from infra import package
        from infra.project import stage_project

        for record in (".chalice/deployed", ".spillway"):  # they name resources of an embedded cloud that is gone
            shutil.rmtree(self._project / record, ignore_errors=True)
        with _as_ours():
            stage_project(self._root, self._project)
            built = package.build(self._project, self._report)
        self._report(f"package: {built.bytes / 1e6:.1f} MB{' (unchanged)' if built.reused else ''}")

    def bootstrap(
        self, s3_inputs: Sequence[str] | None = None, grading: tuple[str | None, str | None] = (None, None)
    ) -> None:
        """Create what the stage needs. The project must be staged (`build_package` begins with that). `s3_inputs`, `grading`: as
        bootstrap's. Webhooks may call this machine."""
        from infra.bootstrap import bootstrap

        with _as_ours():
            self._bootstrapped = bootstrap(
                STAGE,
                REGION,
                self._project,
                s3_inputs=s3_inputs,
                grading=grading,
                webhook_hosts=["127.0.0.1"],
                report=self._report,
            )

    def deploy(self) -> Deployment:
        """`chalice deploy --stage local`."""
        from infra.deploy import deploy
        from localcloud import lifecycle

        with _as_ours():
            deploy(STAGE, self._project, REGION, environment={"AWS_ENDPOINT_URL": self._url})
        # Chalice knows the URL that the API has in AWS; here it answers on 127.0.0.1.
        api_url, token = str(self.counters()["api_url"]), self._bootstrapped.token
        lifecycle.record(self._cloud_state, api_url=api_url, token=token)
        return Deployment(api_url, token, self._bootstrapped.environment["SPILLWAY_SUBMISSIONS_URL"])

    @property
    def started(self) -> bool:
        """Whether there is something to stop."""
        return self._process is not None

    # -- looking

    def aws(self, service: str) -> Any:
        """A boto3 client of it."""
        import boto3

        if service not in self._clients:
            self._clients[service] = boto3.client(service, region_name=REGION, endpoint_url=self._url)
        return self._clients[service]

    def counters(self) -> dict[str, Any]:
        """Calls by operation, functions' statistics, machines that run (`GET /_status`)."""
        import httpx

        try:
            answer: dict[str, Any] = httpx.get(f"{self._url}/_status", timeout=10).raise_for_status().json()
        except httpx.HTTPError as error:
            raise Unreachable(f"The embedded cloud does not tell its counters: {error}.") from error
        self._look()
        return answer

    def instance_states(self) -> list[str]:
        """The state of every instance ever launched, as EC2 tells it."""
        pages = self.aws("ec2").get_paginator("describe_instances").paginate()
        return [i["State"]["Name"] for page in pages for r in page["Reservations"] for i in r["Instances"]]

    def machines_alive(self) -> list[str]:
        """Machines that have processes, whatever EC2's records say."""
        return list(self.counters()["machines"])

    # -- down

    def stop(self) -> int:
        """Stop it, and whatever it left; how many processes and mounts were left by it all the same."""
        from localcloud import lifecycle

        if self._process is None:
            return 0
        self._look()
        self._process.terminate()
        try:
            self._process.wait(STOP_WAIT_S)
        except subprocess.TimeoutExpired:
            self._report(f"it did not stop within {STOP_WAIT_S:.0f} s and is killed")
            self._process.kill()
            self._process.wait()
        left = self._left()
        lifecycle.down(self._cloud_state)
        return left

    def _look(self) -> None:
        """Remember what runs below it now."""
        import psutil

        if self._process is None:
            return
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(self._process.pid).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    self._seen[child.pid] = child.create_time()

    def _left(self) -> int:
        """Processes that were below it, or name its folder, and are alive; mounts below its folder."""
        import psutil

        folder = str(self._cloud_state)
        left = 0
        for process in psutil.process_iter(["pid", "create_time", "cmdline", "status"]):
            facts = process.info
            ours = self._seen.get(facts["pid"]) == facts["create_time"] or folder in " ".join(facts["cmdline"] or ())
            if ours and facts["status"] != psutil.STATUS_ZOMBIE and facts["pid"] != os.getpid():
                self._report(f"left: process {facts['pid']} {' '.join(facts['cmdline'] or ())[:120]}")
                left += 1
        for line in Path("/proc/self/mounts").read_text().splitlines():
            if folder in line.split()[1]:
                self._report(f"left: mount {line}")
                left += 1
        return left


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


@contextlib.contextmanager
def _as_ours() -> Any:
    """The repository's own errors are sentences already; the command line shows ours."""
    from infra.errors import InfraError
    from localcloud.lifecycle import NotOurs

    try:
        yield
    except (InfraError, NotOurs) as error:
        raise BadInput(str(error)) from error
