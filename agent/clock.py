"""How far this host's clock is off, judged by the `Date` of answers; and the clock that nobody can set."""

from __future__ import annotations

import time
from calendar import timegm
from email.utils import parsedate
from typing import Mapping, Optional


def date_of(headers: Mapping[str, str]) -> Optional[float]:
    """An answer's `Date` (names in lower case) in epoch seconds; None without a usable one."""
    parsed = parsedate(headers.get("date", ""))
    return None if parsed is None else float(timegm(parsed))


def clock_off(sent_at: float, received_at: float, date: Optional[float]) -> float:
    """How many seconds the other clock is ahead (behind: negative), as far as its `Date` in whole seconds proves it.

    `sent_at` and `received_at` are by our clock; 0 when the other one may agree with it.
    """
    if date is None:
        return 0.0
    if date > received_at:
        return date - received_at
    return min(0.0, date + 1.0 - sent_at)


def since_boot() -> float:
    """Seconds since the machine's start: the same for all processes of one boot, and no change of the time of day moves it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """Which start of the machine this is; "" where the kernel does not say."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return ""
