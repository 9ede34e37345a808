"""The command line. `main` is the entry point; every command has a file of its own.

Nothing heavy is imported here: commands import the HTTP library, tables and the repository's modules when they run,
so that `spillway --help` answers at once.
"""

from __future__ import annotations

import typer

from spillway.cli.array import array
from spillway.cli.batch import batch
from spillway.cli.changes import cancel, reprioritise, retry
from spillway.cli.demo import demo
from spillway.cli.family import family
from spillway.cli.local import local
from spillway.cli.logs import logs
from spillway.cli.offerings import offerings
from spillway.cli.outcome import STOPPED
from spillway.cli.owner import owner
from spillway.cli.plan import plan
from spillway.cli.pool import pool
from spillway.cli.results import results
from spillway.cli.run import grade, run
from spillway.cli.schedule import schedule
from spillway.cli.spot import spot
from spillway.cli.stage import bootstrap, package
from spillway.cli.status import status
from spillway.cli.submit import submit
from spillway.cli.token import token
from spillway.cli.why import story, why

app = typer.Typer(
    name="spillway",
    help="Elastic batch jobs and auto-grading on EC2, with no servers of its own.",
    epilog="Exit codes: 0 done, 1 a job did not succeed, 2 bad usage or input, 3 cannot reach or not allowed, "
    "4 timed out waiting, 130 stopped.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: rich and its Markdown parser would take twice as long to import as all of this
)
for function in (
    submit,
    batch,
    run,
    grade,
    status,
    why,
    story,
    plan,
    logs,
    results,
    cancel,
    retry,
    reprioritise,
    bootstrap,
    package,
    demo,
):
    app.command()(function)
app.add_typer(pool, name="pool")
app.add_typer(array, name="array")
app.add_typer(offerings, name="offerings")
app.add_typer(local, name="local")
app.add_typer(spot, name="spot")
app.add_typer(token, name="token")
app.add_typer(owner, name="owner")
app.add_typer(family, name="family")
app.add_typer(schedule, name="schedule")


def main() -> None:
    """Run the command line."""
    try:
        app()
    except KeyboardInterrupt:  # before a command has begun, which is most of the first half second
        typer.echo("Stopped.", err=True)
        raise SystemExit(STOPPED) from None
