"""EventBridge's schedule expressions: `rate(5 minutes)` and `cron(0 12 ? * MON-FRI *)`, in UTC.

Of cron, what is supported is numbers, names (JAN, MON), `*`, `?`, lists, ranges and steps. `L`, `W` and `#` are not; the error says so.
Days of the week count from 1, Sunday.
"""

import datetime as dt
import re
from dataclasses import dataclass

_MONTHS = {
    name: i
    for i, name in enumerate(["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"], 1)
}
_DAYS = {name: i for i, name in enumerate(["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"], 1)}
_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("minutes", 0, 59, {}),
    ("hours", 0, 23, {}),
    ("day of month", 1, 31, {}),
    ("month", 1, 12, _MONTHS),
    ("day of week", 1, 7, _DAYS),
    ("year", 1970, 2199, {}),
)
_UNITS_S = {"minute": 60, "hour": 3600, "day": 86400}
_RATE = re.compile(r"rate\(\s*(\d+)\s+(minute|hour|day)(s?)\s*\)")
_CRON = re.compile(r"cron\((.*)\)")


class BadSchedule(ValueError):
    """The expression is wrong or uses something that is not supported; the text says which part."""


@dataclass(frozen=True)
class Rate:
    """Every so many seconds after the rule was made."""

    every_s: int


@dataclass(frozen=True)
class Cron:
    """The minutes that match every field."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]  # 1 is Sunday
    years: frozenset[int]

    def next_after(self, moment: dt.datetime) -> dt.datetime | None:
        """The first matching minute after `moment` (UTC), None when the years are over."""
        day = moment.date()
        start = moment.replace(second=0, microsecond=0) + dt.timedelta(minutes=1)
        while day.year <= max(self.years):
            if day.year not in self.years:
                day = dt.date(day.year + 1, 1, 1)
                continue
            if day.month in self.months and day.day in self.days and day.isoweekday() % 7 + 1 in self.weekdays:
                for hour in sorted(self.hours):
                    for minute in sorted(self.minutes):
                        found = dt.datetime(day.year, day.month, day.day, hour, minute, tzinfo=dt.UTC)
                        if found >= start:
                            return found
            if day == dt.date.max:
                return None
            day += dt.timedelta(days=1)
        return None


def parse(expression: str) -> Rate | Cron:
    """Read a schedule expression. Raises BadSchedule."""
    if match := _RATE.fullmatch(expression.strip()):
        value = int(match[1])
        if value < 1:
            raise BadSchedule(f"{expression}: a rate must be at least 1")
        if (value == 1) == bool(match[3]):
            raise BadSchedule(
                f"{expression}: write 'rate(1 {match[2]})' but 'rate(2 {match[2]}s)', as EventBridge wants it"
            )
        return Rate(value * _UNITS_S[match[2]])
    if match := _CRON.fullmatch(expression.strip()):
        parts = match[1].split()
        if len(parts) != len(_FIELDS):
            raise BadSchedule(
                f"{expression}: cron takes six fields (minutes hours day month weekday year), here are {len(parts)}"
            )
        if (parts[2] == "?") == (parts[4] == "?"):
            raise BadSchedule(f"{expression}: exactly one of day of month and day of week must be '?'")
        sets = [_field(part, expression, *field) for part, field in zip(parts, _FIELDS, strict=True)]
        return Cron(*sets)
    raise BadSchedule(f"{expression}: neither rate(…) nor cron(…)")


def _field(text: str, expression: str, name: str, low: int, high: int, names: dict[str, int]) -> frozenset[int]:
    found: set[int] = set()
    for item in text.upper().split(","):
        span, _, step = item.partition("/")
        if span in ("*", "?"):
            first, last = low, high
        else:
            head, dash, tail = span.partition("-")
            first = _number(head, expression, name, names)
            last = _number(tail, expression, name, names) if dash else (high if step else first)
        every = _number(step, expression, name, {}) if step else 1
        if not low <= first <= high or not low <= last <= high or every < 1 or last < first:
            raise BadSchedule(f"{expression}: {item!r} is no {name} ({low} to {high})")
        found.update(range(first, last + 1, every))
    return frozenset(found)


def _number(text: str, expression: str, name: str, names: dict[str, int]) -> int:
    if text in names:
        return names[text]
    if text.isdecimal():
        return int(text)
    if any(letter in text for letter in "LW#"):
        raise BadSchedule(f"{expression}: {text!r} in {name}: L, W and # are not supported by the embedded cloud")
    raise BadSchedule(f"{expression}: {text!r} is no {name}")
