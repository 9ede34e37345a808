"""The deployed embedded cloud, as a measurement needs it: bootstrapped, deployed to, and gone afterwards."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
Say = Callable[[str], None]


@contextmanager
def deployed(say: Say) -> Iterator[tuple[Any, Any, Path]]:
    """(cloud, client, folder of the deployed project); this process's environment leads to it meanwhile."""
    from spillway.client import Client
    from spillway.demo.embedded import Embedded
    from spillway.demo.run import dummy_credentials

    before = dict(os.environ)
    dummy_credentials()
    with tempfile.TemporaryDirectory(prefix="spillway-bench-") as folder:
        cloud = Embedded(ROOT, Path(folder), lambda line: None)
        try:
            say("deploying to the embedded cloud")
            cloud.build_package()
            cloud.start()
            cloud.bootstrap()
            deployment = cloud.deploy()
            with Client(deployment.api_url, deployment.token) as client:
                yield cloud, client, Path(folder) / "project"
        finally:
            left = cloud.stop()
            os.environ.clear()
            os.environ.update(before)
            if left:
                say(f"the embedded cloud left {left} processes or mounts")
