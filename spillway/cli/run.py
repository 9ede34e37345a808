"""`spillway run FAMILY PARAMETERS` and `spillway grade FOLDER SUBMISSION`: a job on this machine, as a host would run it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spillway.cli.family import read_json
from spillway.cli.options import Json, Stage, Token, Url, connect
from spillway.cli.outcome import JOB_DID_NOT_SUCCEED, command, emit, finish
from spillway.cli.submit import input_option
from spillway.errors import BadInput
from spillway.family_files import Files, taken

if TYPE_CHECKING:
    from spillway.local_run import Ended, Local

Into = Annotated[Path, typer.Option(help="Where result.json, log.txt and outputs/ go.")]
Trusted = Annotated[bool, typer.Option("--trusted", help="Run it without a sandbox, as yourself.")]
Installing = Annotated[
    bool, typer.Option("--install", help="Run its install first, as you: it may change this machine.")
]
INTO = Path("spillway-run")


@command
def run(
    family: Annotated[
        str, typer.Argument(metavar="FAMILY", help="A family of the deployment, or a file as `family put` takes it.")
    ],
    parameters: Annotated[
        Path | None, typer.Argument(metavar="[PARAMETERS]", help="A JSON file with its parameters; - reads stdin.")
    ] = None,
    inputs: Annotated[
        list[str] | None, typer.Option("--input", help="PATH[:DEST]: a file or folder for its work folder. Repeatable.")
    ] = None,
    version: Annotated[int | None, typer.Option(min=1, help="Which version of the family; else the newest.")] = None,
    into: Into = INTO,
    trusted: Trusted = False,
    install: Installing = False,
    url: Url = None,
    token: Token = None,
    stage: Stage = None,
    as_json: Json = False,
) -> None:
    """Run a family's job on this machine: the hosts' agent, sandbox and limits, and no cloud. Exit 1 unless it succeeds."""
    from spillway.local_run import of_family

    files: Files = []
    if Path(family).is_file():
        document, files = taken(read_json(Path(family)), Path(family).parent)
    elif Path(family).is_dir():
        raise BadInput(
            f"{family} is a folder: name the family's file in it, or say `spillway grade {family} SUBMISSION`."
        )
    else:
        with connect(url, token, stage) as spillway:
            document = spillway.family(family, version=version)
    own = [(to or Path(path).resolve().name, Path(path)) for path, to in map(input_option, inputs or ())]
    files = [(path, file) for path, file in files if path not in dict(own)] + own
    given = read_json(parameters) if parameters is not None else {}
    _run(of_family(document, given, files), into, trusted=trusted, install=install, as_json=as_json)


@command
def grade(
    grader: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER", help="A grader: Gradescope's, a PrairieLearn question, or one with a family.json."
        ),
    ],
    submission: Annotated[Path, typer.Argument(metavar="SUBMISSION", help="What was handed in: a file or a folder.")],
    command_line: Annotated[
        str | None, typer.Option("--command", help="What to run, in place of what the grader says.")
    ] = None,
    into: Into = INTO,
    trusted: Trusted = False,
    install: Installing = False,
    as_json: Json = False,
) -> None:
    """Grade a submission on this machine: the hosts' agent, sandbox and limits, and no cloud. Exit 1 unless it was graded."""
    from spillway.graders import grading
    from spillway.local_run import of_document

    found = grading(grader, submission)
    said: dict[str, Any] = {"command": command_line} if command_line else {}
    _run(of_document({**found.document, **said}, found.files), into, trusted=trusted, install=install, as_json=as_json)


def _run(local: Local, into: Path, *, trusted: bool, install: bool, as_json: bool) -> None:
    from spillway import local_run

    if install:
        local = local.installing
    elif local.install:
        typer.echo(
            "Its install is not run (--install does that, as you): what it needs must be on this machine.", err=True
        )
    if trusted:
        local = dataclasses.replace(local, assignment={**local.assignment, "untrusted": False})
    sandbox = "none" if trusted else "auto"
    ended = local_run.run(local, into, sandbox=sandbox, told=lambda line: typer.echo(line, err=True))
    _show(ended, as_json=as_json)
    if not ended.succeeded:
        finish(JOB_DID_NOT_SUCCEED)


def _show(ended: Ended, *, as_json: bool) -> None:
    if as_json:
        emit({**dataclasses.asdict(ended), "folder": str(ended.folder)})
        return
    if ended.log:
        typer.echo(ended.log.rstrip("\n"), err=True)
    if ended.result is not None:
        import json

        typer.echo(json.dumps(ended.result, indent=2))
    counted = ended.memory_peak_mib > 0  # by control groups
    used = f" ({ended.cpu_s:.2f} s of processor time, {ended.memory_peak_mib} MiB)" if counted else ""
    typer.echo(
        f"{ended.state}: {ended.reason}{used}\nIts result, log and outputs are in {ended.folder}.",
        err=True,
    )
