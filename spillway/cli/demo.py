"""`spillway demo`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from spillway.cli.options import Json
from spillway.cli.outcome import JOB_DID_NOT_SUCCEED, command, emit, finish


@command
def demo(
    state: Annotated[
        Path | None, typer.Option(help="Folder for what it writes (default: .demo in the checkout).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Deploy Spillway to the embedded cloud and let it grade examples/grading. Needs a checkout, no AWS account."""
    from spillway.checkout import import_from_checkout

    root = import_from_checkout()
    from spillway.demo.run import demo as run
    from spillway.demo.run import dummy_credentials, verdict
    from spillway.demo.screen import Screen

    dummy_credentials()
    folder = (state or root / ".demo").resolve()
    report = run(root, folder, Screen(as_json=as_json))
    reasons = verdict(report)
    if as_json:
        emit(dataclasses.asdict(report))
    else:
        typer.echo(_summary(dataclasses.asdict(report), folder))
    for reason in reasons:
        typer.echo(f"Wrong: {reason}.", err=True)
    if reasons:
        finish(JOB_DID_NOT_SUCCEED)


def _summary(report: dict[str, object], folder: Path) -> str:
    """The figures, one a line."""
    shown = [
        ("jobs", "jobs"),
        ("by_state", "ended as"),
        ("instances_launched", "instances launched"),
        ("run_instances_calls", "RunInstances calls"),
        ("cold_submit_to_start_ms_p50", "cold submit → start, median ms"),
        ("warm_submit_to_start_ms_p50", "warm submit → start, median ms"),
        ("lambda_cold_start_ms_p50", "Lambda cold start, median ms"),
        ("deploy_s", "bootstrap and deploy, s"),
        ("total_s", "in all, s"),
        ("instances_left", "instances left"),
        ("processes_left", "processes left"),
    ]
    lines = [f"  {title:32} {report[key]}" for key, title in shown]
    return "\n".join(["", *lines, "", f"Written to {folder / 'report.json'}."])
