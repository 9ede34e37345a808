"""`spillway demo`."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spillway.cli.options import Json
from spillway.cli.outcome import JOB_DID_NOT_SUCCEED, command, emit, finish

if TYPE_CHECKING:
    from spillway.demo.figures import Report


@command
def demo(
    state: Annotated[
        Path | None, typer.Option(help="Folder for what it writes (default: .demo in the checkout).")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the embedded cloud running, for `spillway local` and all the others.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Deploy Spillway to the embedded cloud and let it grade examples/grading. Needs a checkout, no AWS account."""
    from spillway.checkout import import_from_checkout
    from spillway.config import local_state

    root = import_from_checkout()
    from spillway.demo.run import demo as run
    from spillway.demo.run import dummy_credentials, verdict
    from spillway.demo.screen import Screen

    dummy_credentials()
    folder = (state or root / ".demo").resolve()
    cloud = local_state().resolve() if keep else None
    report = run(root, folder, Screen(as_json=as_json), cloud)
    reasons = verdict(report)
    if as_json:
        emit(dataclasses.asdict(report))
    else:
        typer.echo(_summary(report, folder))
    if cloud is not None:
        typer.echo(_how_to_play_on(cloud), err=as_json)
    for reason in reasons:
        typer.echo(f"Wrong: {reason}.", err=True)
    if reasons:
        finish(JOB_DID_NOT_SUCCEED)


def _summary(report: Report, folder: Path) -> str:
    """The figures, one a line."""
    wrong = len(report.marks_wrong)
    ended = ", ".join(f"{count} {state}" for state, count in report.by_state.items())
    shown: list[tuple[str, object]] = [
        ("jobs", report.jobs),
        ("as expected", "all" if not wrong else f"all but {wrong}"),
        ("ended as", ended),
        ("skipped", len(report.skipped) or None),
        ("instances launched", report.instances_launched),
        ("RunInstances calls", report.run_instances_calls),
        ("cold submit → start, median ms", report.cold_submit_to_start_ms_p50),
        ("warm submit → start, median ms", report.warm_submit_to_start_ms_p50),
        ("Lambda cold start, median ms", report.lambda_cold_start_ms_p50),
        ("bootstrap and deploy, s", report.deploy_s),
        ("in all, s", report.total_s),
        ("instances left", report.instances_left),
        ("processes left", report.processes_left),
    ]
    lines = [f"  {title:32} {value}" for title, value in shown if value is not None]
    return "\n".join(["", *lines, "", f"Written to {folder / 'report.json'}."])


def _how_to_play_on(cloud: Path) -> str:
    """What to do with the embedded cloud that still runs, and how to stop it."""
    from localcloud import lifecycle

    spillway = sys.argv[0] if Path(sys.argv[0]).name == "spillway" else "spillway"
    endpoint = lifecycle.status(cloud).aws_endpoint_url
    return f"""
The embedded cloud goes on running. From this folder:

  {spillway} submit 'echo hello' --wait
  {spillway} status
  {spillway} local down        # stops it

Any AWS tool can look into it: AWS_ACCESS_KEY_ID=demo AWS_SECRET_ACCESS_KEY=demo AWS_DEFAULT_REGION=us-east-1 \\
  aws --endpoint-url {endpoint} sqs list-queues"""
