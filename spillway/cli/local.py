"""`spillway local`: the embedded cloud of this folder, up, down, status, reset."""

from __future__ import annotations

import typer

local = typer.Typer(help="The embedded cloud: an AWS account on 127.0.0.1. Needs a checkout.", no_args_is_help=True)
