"""Resident memory of a process and everything below it."""

import os
import sys
from pathlib import Path

import psutil

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def resident_mib(pid: int) -> float:
    """MiB resident now in `pid` and its descendants; 0 when it is gone.

    On Linux from /proc directly: this is asked for twenty times a second, and psutil finds children by reading every process.
    """
    if not sys.platform.startswith("linux"):
        return _by_psutil(pid)
    pages, todo = 0, [pid]
    while todo:
        here = Path("/proc") / str(todo.pop())
        try:
            pages += int((here / "statm").read_bytes().split()[1])
            for thread in os.scandir(here / "task"):
                with open(f"{thread.path}/children", "rb") as children:
                    todo += [int(child) for child in children.read().split()]
        except (OSError, IndexError):
            continue  # it ended meanwhile, or this kernel does not list children
    return pages * _PAGE_BYTES / 1_048_576


def _by_psutil(pid: int) -> float:
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        return float(sum(member.memory_info().rss for member in family)) / 1_048_576
    except psutil.Error:
        return 0.0
