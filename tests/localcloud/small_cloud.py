"""A small embedded cloud for these tests: real moto, the real front, real workers; deployed functions are a few lines each."""

import io
import json
import textwrap
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from moto.backends import get_backend

from localcloud.front import Front
from localcloud.identity import Identities
from localcloud.lambdas.config import backends
from localcloud.lambdas.functions import Functions
from localcloud.lambdas.invocation import Invocation
from localcloud.rest import RestApi
from localcloud.sources.eventbridge import EventBus
from localcloud.sources.schedules import Schedules
from localcloud.sources.sns import SnsSources
from localcloud.sources.sqs import SqsSources

SERVICES = ("sqs", "sns", "events", "iam", "apigateway", "s3")


def package(code: str, **files: str) -> bytes:
    """A zip with `app.py`."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("app.py", textwrap.dedent(code))
        for name, text in files.items():
            zipped.writestr(name, text)
    return archive.getvalue()


def eventually(check: Callable[[], Any], within_s: float = 10.0) -> Any:
    """The first true value of `check`; fails when there is none in time."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if value := check():
            return value
        time.sleep(0.01)
    raise AssertionError(f"not within {within_s} s: {check}")


class SmallCloud:
    """What a test touches."""

    def __init__(self, folder: Path, **functions: Any) -> None:
        self.folder = folder
        self.identities = Identities()
        self.front = Front(self.identities)
        self.functions = Functions(self.front, self.identities, folder, **functions)
        self.sqs = SqsSources(self.functions, self.front)
        self.bus = EventBus(self.functions)
        self.schedules = Schedules(self.functions, speed=60)
        self.sns = SnsSources(self.functions)
        self.rest = RestApi(self.front, self.functions)
        self._parts = (self.front, self.functions, self.sqs, self.bus, self.schedules, self.sns, self.rest)

    def start(self) -> None:
        for part in self._parts:
            part.start()

    def stop(self) -> None:
        for part in reversed(self._parts):
            part.stop()

    def role(self, name: str = "worker") -> str:
        roles = get_backend("iam")["123456789012"]["aws"].roles
        for role in roles.values():
            if role.name == name:
                return str(role.arn)
        made = self.front.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument="{}")
        return str(made["Role"]["Arn"])

    def deploy(self, name: str, code: str, **options: Any) -> str:
        """Create the function `name` with the handler `app.handler`; its ARN."""
        options = {"Timeout": 10, "MemorySize": 256} | options
        created = self.front.client("lambda").create_function(
            FunctionName=name,
            Runtime="python3.11",
            Role=self.role(),
            Handler="app.handler",
            Code={"ZipFile": package(code)},
            **options,
        )
        return str(created["FunctionArn"])

    def deploy_recorder(self, name: str, body: str = "", **options: Any) -> Path:
        """A function that appends each event, and when it came, to a file; the file."""
        path = self.folder / f"{name}.events"
        code = f"""
            import json, time
            def handler(event, context):
                with open({str(path)!r}, "a") as file:
                    file.write(json.dumps({{"at": time.time(), "event": event}}) + "\\n")
            """
        self.deploy(name, textwrap.dedent(code) + textwrap.indent(textwrap.dedent(body), "    "), **options)
        return path

    def invoke(self, name: str, event: Any = None) -> Invocation:
        return self.functions.invoke(name, json.dumps(event).encode(), wait=True)

    def log(self, name: str) -> str:
        return (self.folder / "logs" / f"{name}.log").read_text()


def recorded(path: Path) -> list[dict[str, Any]]:
    """What a recorder was invoked with so far."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def in_parallel(count: int, action: Callable[[int], Any]) -> list[Any]:
    """The results of `action(0)` … in threads of their own."""
    results: list[Any] = [None] * count

    def run(index: int) -> None:
        results[index] = action(index)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@contextmanager
def small_cloud(folder: Path, **functions: Any) -> Iterator[SmallCloud]:
    """A started cloud with nothing in it; all of it is gone afterwards."""
    for service in SERVICES:
        for backend in list(get_backend(service)["123456789012"].values()):
            backend.reset()
    for backend in backends():
        backend.reset()
    cloud = SmallCloud(folder, **functions)
    cloud.start()
    try:
        yield cloud
    finally:
        cloud.stop()
