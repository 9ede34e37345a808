"""A program of ours that is run for an attempt before its command, in its sandbox and under its limits: fetching a repository."""

from __future__ import annotations

from agent import folder, processes
from agent.clock import since_boot
from agent.git import MEMORY_BYTES, SAID_MAX_BYTES, TIMEOUT_S, Ran
from agent.limits import Limits
from agent.sandbox import Ask, Sandbox
from agent.supervise import Bounds, Stopper, run_plain, told_to


def run(sandbox: Sandbox, ask: Ask, top: str, disk_bytes: int, stopper: Stopper) -> Ran:
    """Until it ends, is stopped, or has filled `top`, the attempt's folder. Raises OSError."""
    said = bytearray()

    def feed(data: bytes) -> None:
        said.extend(data)
        del said[:-SAID_MAX_BYTES]

    def bounds(pid: int) -> Bounds:
        full = folder.Watch(top, disk_bytes, lambda: processes.tree(pid))
        return Bounds(since_boot() + TIMEOUT_S, lambda: "disk" if full() else "", lambda why: None)

    limits = Limits(disk_bytes, TIMEOUT_S, MEMORY_BYTES, 0)
    ended = run_plain(sandbox.launch(ask), None, limits.pairs(), bounds, stopper, told_to(feed))
    return Ran(ended.exit_code, ended.killed, said.decode("utf-8", "replace"))
