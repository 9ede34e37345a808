"""`spillway bootstrap` and `spillway package`: the checkout's own `infra/`, run from here."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from spillway.cli.options import Json
from spillway.cli.outcome import command, emit


@command
def bootstrap(
    stage: Annotated[str, typer.Option(help="The stage's name: lower-case letters, digits, hyphens.")],
    region: Annotated[str | None, typer.Option(help="Its home region (default: the AWS profile's).")] = None,
    host_region: Annotated[
        list[str] | None, typer.Option(help="A further region in which hosts may run. Repeatable.")
    ] = None,
    s3_input: Annotated[
        list[str] | None,
        typer.Option(
            help="A place that jobs may take S3 objects from, s3://bucket/prefix/ ({owner} in it: the job's owner). "
            "Repeatable; `none` takes all back."
        ),
    ] = None,
    grading_bucket: Annotated[
        str | None,
        typer.Option(
            help="The bucket of a PrairieLearn installation that this stage grades for; `none` takes it back."
        ),
    ] = None,
    grading_results: Annotated[str | None, typer.Option(help="Its results queue, by name.")] = None,
    new_token: Annotated[
        bool, typer.Option("--new-token", help="Make another admin token, if the first is lost.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Create or update what a stage needs in AWS. Needs a checkout; running it again changes nothing."""
    from spillway.checkout import import_from_checkout

    root = import_from_checkout()
    from infra import bootstrap as infra_bootstrap
    from infra import terminal

    with explained():
        done = infra_bootstrap.bootstrap(
            stage,
            region,
            root,
            host_regions=host_region or (),
            s3_inputs=s3_input,
            grading=(grading_bucket, grading_results),
            new_token=new_token,
            report=terminal.progress,
        )
    if as_json:
        emit(dataclasses.asdict(done))
        return
    if done.token:
        typer.echo(f"Admin token, shown this once (also in .spillway/{stage}.json): {done.token}")
    typer.echo(f"The stage {stage} is ready. Next: {sys.executable} -m infra.deploy --stage {stage}")


@command
def package(as_json: Json = False) -> None:
    """Build the Lambda package that `chalice deploy` uploads, stripped of what no function uses. Needs a checkout."""
    from spillway.checkout import import_from_checkout

    root = import_from_checkout()
    from infra import package as infra_package
    from infra import terminal

    with explained():
        built = infra_package.build(root, terminal.progress)
    if as_json:
        emit(dataclasses.asdict(built))
        return
    how = "unchanged" if built.reused else f"built in {built.seconds:.1f} s"
    typer.echo(f"{built.path}: {built.bytes / 1e6:.2f} MB, {how}")


@contextmanager
def explained() -> Iterator[None]:
    """`infra`'s sentences as ours; what AWS itself refused, or did not answer, is no mistake in the command line."""
    from botocore.exceptions import BotoCoreError, ClientError

    from infra.errors import InfraError
    from spillway.errors import BadInput, Unreachable

    try:
        yield
    except InfraError as error:
        kind = Unreachable if isinstance(error.__cause__, BotoCoreError | ClientError) else BadInput
        raise kind(str(error)) from error
