"""How a command ends: exit codes, errors for people, and errors for programs.

| code | meaning |
|---|---|
| 0 | done; with --wait or results: every job succeeded |
| 1 | done, but a job did not succeed (or the demo found a wrong mark) |
| 2 | bad usage or bad input: nothing was changed, or the sentence says what was |
| 3 | Spillway cannot be reached, or the token may not do this |
| 4 | timed out waiting; the jobs go on |
| 130 | stopped by ctrl-C |
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn, ParamSpec, TypeVar

import typer

from spillway.errors import SpillwayError

P = ParamSpec("P")
R = TypeVar("R")

OK, JOB_DID_NOT_SUCCEED, BAD_INPUT, UNREACHABLE, TIMED_OUT, STOPPED = 0, 1, 2, 3, 4, 130


def command(function: Callable[P, R]) -> Callable[P, R]:
    """Wrap a command: expected problems become one sentence and an exit code, never a traceback."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except SpillwayError as error:
            tell(error, as_json=bool(kwargs.get("as_json")))
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            typer.echo("Stopped.", err=True)
            raise typer.Exit(STOPPED) from None
        except BrokenPipeError:  # `spillway logs … | head`: the reader has what it wanted
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(OK) from None

    return run


def tell(error: SpillwayError, *, as_json: bool) -> None:
    """The error: as a sentence on stderr, or as one JSON object on stdout."""
    if as_json:
        emit(
            {
                "error": error.sentence,
                "errors": [{"field": e.field, "message": e.message} for e in error.fields],
                "exit_code": error.exit_code,
            }
        )
    else:
        typer.echo(f"Error: {error}", err=True)


def emit(document: Any) -> None:
    """One JSON document on stdout."""
    import json

    typer.echo(json.dumps(document, indent=2, default=str))


def finish(code: int) -> NoReturn:
    """End the command with this exit code."""
    raise typer.Exit(code)
