"""Times, durations and numbers in words for people."""

from __future__ import annotations

import math

_UNITS = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`, `1 d 4 h`: the two largest units; a negative one is none."""
    if not math.isfinite(seconds):
        return "an unknown time"
    if 0 < seconds < 9.95:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    left = max(0, round(seconds))
    parts: list[str] = []
    for size, unit in _UNITS:
        if parts or left >= size:
            count, left = divmod(left, size)
            parts.append(f"{count} {unit}" if count else "")
            if len(parts) == 2:
                break
    return " ".join(part for part in parts if part) or "0 s"


def ago(at: float, now: float) -> str:
    """`3 min 20 s ago`; of a time to come: `in 20 s`."""
    if at > now:
        return f"in {duration(at - now)}"
    return f"{duration(now - at)} ago" if now - at >= 0.05 else "just now"


def clock(at: float) -> str:
    """`14:03:20 UTC`."""
    if not math.isfinite(at):
        return "an unknown time"
    seconds = int(at) % 86_400
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d} UTC"


def moment(at: float) -> str:
    """`2026-12-01T14:00:00Z`: ISO 8601 in UTC, to the second. (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms")"""
    days, seconds = divmod(int(at), 86_400)
    era, day = divmod(days + 719_468, 146_097)  # days since 0000-03-01, in the 400 years after which all repeats
    year_of_era = (day - day // 1460 + day // 36_524 - day // 146_096) // 365
    day_of_year = day - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month = (5 * day_of_year + 2) // 153
    date = f"{year_of_era + era * 400 + (month >= 10):04d}-{(month + 2) % 12 + 1:02d}-{day_of_year - (153 * month + 2) // 5 + 1:02d}"
    return f"{date}T{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}Z"


def count(number: int, noun: str, plural: str | None = None) -> str:
    """`1 job`, `3 jobs`."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def sentence(text: str) -> str:
    """With a full stop last, and a capital letter first, unless it begins with a name such as `host-01` that must stay as it is."""
    text = text.strip()
    if not text:
        return ""
    named = any(letter.isdigit() for letter in text.split()[0])
    first = text[0] if named else text[0].upper()
    return f"{first}{text[1:]}" + ("" if text[-1] in ".!?…" else ".")
