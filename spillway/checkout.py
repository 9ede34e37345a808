"""The repository around this client, for the commands that start its own modules."""

from __future__ import annotations

import sys
from pathlib import Path

from spillway.errors import NoCheckout


def checkout(start: Path | None = None) -> Path:
    """The root of the checkout: the folder that holds app.py, infra/ and localcloud/, here, above, or of this install.

    Raises NoCheckout, in a sentence, where the client was installed alone.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents, Path(__file__).resolve().parent.parent):
        if all((folder / name).exists() for name in ("infra", "localcloud", "pyproject.toml")):
            return folder
    raise NoCheckout(
        "This command runs Spillway's own repository (app.py, infra/, localcloud/), and there is no checkout here: "
        "clone it, run `make setup`, and call the command from there."
    )


def import_from_checkout() -> Path:
    """Make the checkout's modules importable in this process; its root. Raises NoCheckout.

    Also where the `cloud` extra (boto3, moto, chalice) is not installed, since nothing there would import.
    """
    root = checkout()
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    from importlib.util import find_spec

    missing = [name for name in ("boto3", "chalice", "moto") if find_spec(name) is None]
    if missing:
        raise NoCheckout(
            f"This command needs {', '.join(missing)}: run `make setup` in {root} and use {root}/.venv/bin/spillway."
        )
    return root
