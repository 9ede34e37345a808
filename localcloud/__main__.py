"""`python -m localcloud --state DIR`: the embedded cloud in one process, until SIGTERM, SIGINT or the end of its terminal."""

from __future__ import annotations

import argparse
import contextlib
import logging
import logging.handlers
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import psutil

from localcloud import lifecycle, orphans

LOG_MAX_BYTES = 5 * 1024 * 1024
LOG_FILES = 3

log = logging.getLogger("localcloud")


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 after a clean stop, 1 when it did not start, 3 when one already runs in this folder."""
    parser = argparse.ArgumentParser(prog="python -m localcloud", description="Spillway's embedded cloud.")
    parser.add_argument("--state", type=Path, required=True, help="the folder for its status, logs and instances")
    parser.add_argument("--port", type=int, default=0, help="the AWS endpoint's port (default: a free one)")
    parser.add_argument("--detached", action="store_true", help="go on when the terminal is closed")
    parser.add_argument("--schedule-speed", type=float, default=1.0, help="run schedules so many times faster")
    parser.add_argument("--debug", action="store_true", help="log every call")
    options = parser.parse_args(arguments)
    state_dir: Path = options.state
    state_dir.mkdir(parents=True, exist_ok=True)
    try:
        with lifecycle.held(state_dir):
            return run(
                state_dir,
                port=options.port,
                detached=options.detached,
                debug=options.debug,
                schedule_speed=options.schedule_speed,
            )
    except lifecycle.AlreadyRunning as error:
        print(error, file=sys.stderr)  # noqa: T201  # a command speaks on its terminal
        return 3


def run(
    state_dir: Path,
    *,
    port: int = 0,
    detached: bool = False,
    debug: bool = False,
    schedule_speed: float = 1.0,
    ready: Callable[[], None] | None = None,
) -> int:
    """Run the cloud in this process, whose main thread this must be, until a signal asks it to stop."""
    began = time.monotonic()
    stop_asked = _signals(detached)
    _log_to(state_dir, debug, echo=not detached)
    orphans.end_recorded(state_dir)
    (state_dir / lifecycle.STATUS).unlink(missing_ok=True)
    _own_environment()
    watch = orphans.ChildWatch(state_dir)
    try:
        from localcloud.cloud import Cloud

        cloud = Cloud(state_dir, port=port, schedule_speed=schedule_speed)
        watch.start()
        cloud.start()
    except Exception as error:
        log.exception("the embedded cloud does not start")
        print(f"The embedded cloud does not start: {error}", file=sys.stderr)  # noqa: T201  # as above
        watch.stop()
        return 1
    try:
        _write_status(state_dir, cloud.front.url)
        log.info("ready url=%s pid=%d after_s=%.2f", cloud.front.url, os.getpid(), time.monotonic() - began)
        if ready is not None:
            ready()
        stop_asked.wait()
        log.info("stopping")
    finally:
        cloud.stop()
        watch.stop()
        (state_dir / lifecycle.STATUS).unlink(missing_ok=True)
        log.info("stopped")
    return 0


def _signals(detached: bool) -> threading.Event:
    """Ask to stop on SIGTERM and SIGINT; and on SIGHUP unless detached. A second ctrl-C does not interrupt the tidying up."""
    asked = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked.set())
    signal.signal(signal.SIGHUP, signal.SIG_IGN if detached else lambda *_: asked.set())
    return asked


def _write_status(state_dir: Path, url: str) -> None:
    process = psutil.Process()
    document = {"aws_endpoint_url": url, "api_url": None, "token": None, "pid": process.pid}
    lifecycle.write_status(state_dir, {**document, "pid_started": process.create_time()})


def _own_environment() -> None:
    """The developer's AWS settings are about the real AWS; none of them may leak into this one."""
    for name in [n for n in os.environ if n.startswith("AWS_")]:
        del os.environ[name]
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull


def _log_to(state_dir: Path, debug: bool, echo: bool) -> None:
    handler = logging.handlers.RotatingFileHandler(
        state_dir / "localcloud.log", maxBytes=LOG_MAX_BYTES, backupCount=LOG_FILES - 1
    )
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    warnings.filterwarnings(
        "ignore", module=r"moto\."
    )  # what moto's CloudFormation leaves out is known; it is in the log
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("localcloud").setLevel(logging.DEBUG if debug else logging.INFO)
    if echo:
        terminal = logging.StreamHandler()
        terminal.setLevel(logging.WARNING)
        terminal.addFilter(lambda record: not record.name.startswith("moto"))
        terminal.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
        root.addHandler(terminal)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
