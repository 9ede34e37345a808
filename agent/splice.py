"""Bytes from a pipe into a file, inside the kernel: each is in the one or in the other, also when this process is killed meanwhile."""

from __future__ import annotations

import errno
import os
from typing import Any, Callable, Optional

NONBLOCK = 2  # SPLICE_F_NONBLOCK; os.splice is Python 3.10's


def _by_libc() -> Callable[[int, int, int, int], int]:
    import ctypes

    call = ctypes.CDLL(None, use_errno=True).splice
    call.restype = ctypes.c_ssize_t

    def splice(pipe: int, file: int, count: int, offset: int) -> int:
        at = ctypes.c_int64(offset)
        moved: int = call(pipe, None, file, ctypes.byref(at), ctypes.c_size_t(count), NONBLOCK)
        if moved < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return moved

    return splice


def _find() -> Callable[[int, int, int, int], int]:
    native: Any = getattr(os, "splice", None)
    if native is None:
        return _by_libc()
    return lambda pipe, file, count, offset: int(native(pipe, file, count, offset_dst=offset, flags=NONBLOCK))


_splice: Optional[Callable[[int, int, int, int], int]] = None


def move(pipe: int, file: int, count: int, offset: int) -> int:
    """Move up to `count` bytes that are there to `offset`; how many. Raises BlockingIOError when there are none, OSError (a full disk)."""
    global _splice
    _splice = _splice or _find()
    try:
        return _splice(pipe, file, count, offset)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot
            raise
    data = os.read(pipe, count)
    done = 0
    while done < len(data):
        done += os.pwrite(file, data[done:], offset + done)
    return done
