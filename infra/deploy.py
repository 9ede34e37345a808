"""Deploy a bootstrapped stage: package, `chalice deploy`, and the API's URL into the client's file.

Chalice runs as its own program, as it would by hand, with PYTHONDONTWRITEBYTECODE: it imports the app before it computes the package's name
from everything below chalicelib, and bytecode there would make it miss the package that was built for it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import boto3
from botocore.config import Config

from infra import chalice_config, client_file, gateway_responses, package, recursion, terminal
from infra.errors import InfraError
from infra.stage import check_stage

_CHALICE = "import sys; from chalice.cli import main; sys.exit(main())"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """A deployed stage: `package_s` and `chalice_s` are what the two steps took."""

    api_url: str
    package_bytes: int
    package_s: float
    chalice_s: float


def deploy(
    stage: str,
    project_dir: Path,
    region: str,
    *,
    environment: Mapping[str, str] | None = None,
    report: terminal.Report = terminal.silent,
) -> Deployed:
    """Package and deploy. `environment` (AWS_ENDPOINT_URL, keys) is added to this process's own.

    Raises InfraError with Chalice's last words.
    """
    check_stage(stage)
    if stage not in chalice_config.read(project_dir).get("stages", {}):
        raise InfraError(
            f"The stage {stage} is not bootstrapped in {project_dir}. Run `spillway bootstrap --stage {stage}` first."
        )
    built = package.build(project_dir, report)
    started = time.monotonic()
    report(f"chalice: deploying the stage {stage}")
    _run_chalice(
        stage,
        project_dir,
        {**os.environ, "AWS_DEFAULT_REGION": region, **(environment or {}), "PYTHONDONTWRITEBYTECODE": "1"},
        report,
    )
    given = environment or {}
    session = boto3.session.Session(given.get("AWS_ACCESS_KEY_ID"), given.get("AWS_SECRET_ACCESS_KEY"))
    patient = Config(retries={"mode": "standard", "max_attempts": 10})
    clients = partial(session.client, region_name=region, endpoint_url=given.get("AWS_ENDPOINT_URL"), config=patient)
    recursion.allow(clients("lambda"), stage)
    gateway_responses.put(clients("apigateway"), client_file.deployed_api(project_dir, stage))
    url = client_file.record_api_url(project_dir, stage)
    return Deployed(
        api_url=url,
        package_bytes=built.bytes,
        package_s=built.seconds,
        chalice_s=round(time.monotonic() - started, 3),
    )


def _run_chalice(stage: str, project_dir: Path, environment: Mapping[str, str], report: terminal.Report) -> None:
    command = [sys.executable, "-c", _CHALICE, "--project-dir", str(project_dir), "deploy", "--stage", stage]
    said: list[str] = []
    with subprocess.Popen(
        command,
        cwd=project_dir,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as chalice:
        for line in chalice.stdout or ():
            said.append(line.rstrip())
            if line.startswith(("Creating", "Updating", "Subscribing", "Reusing", "Deleting", "Regen")):
                report(f"chalice: {line.rstrip()}")
    if chalice.returncode:
        last = "\n".join(line for line in said[-15:] if line)
        raise InfraError(f"`chalice deploy --stage {stage}` failed in {project_dir}:\n{last}")


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m infra.deploy`: exit code 0, or 1 with a sentence on standard error."""
    parser = argparse.ArgumentParser(
        prog="python -m infra.deploy", description="Package and deploy a bootstrapped stage."
    )
    parser.add_argument("--stage", required=True, help="the stage's name, as bootstrapped")
    parser.add_argument("--project-dir", type=Path, default=Path.cwd(), help="where app.py is (default: here)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    options = parser.parse_args(argv)
    project_dir = options.project_dir.resolve()
    try:
        region = client_file.read(project_dir, options.stage).get("region") or os.environ.get("AWS_DEFAULT_REGION", "")
        done = deploy(options.stage, project_dir, region, report=terminal.progress)
    except InfraError as error:
        terminal.progress(str(error))
        return 1
    terminal.say(json.dumps(asdict(done)) if options.json else f"The stage {options.stage} answers at {done.api_url}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
