"""When a schedule fires: cron in three dialects, `rate(…)` and `at(…)`, in a time zone.

Theory of operation. A cron expression speaks of wall clocks, so croniter walks a clock that has no zone at all, and `after` maps what
it shows onto the time line. Only there are daylight saving times: a wall clock may show a time never, once or twice.

- A schedule that names its hours ("at half past two") fires once for each time that it names: one that does not exist fires
  at the moment when the clock jumps over it, one that exists twice fires the first time.
- A schedule of every hour, or every few (its hour field begins with `*`), follows the clock as it runs: what is not shown is not fired,
  what is shown twice is fired twice. Else "every 15 minutes" would be silent for an hour once a year.

Dialects are told apart by their number of fields: 5 are cron's (Sunday is 0 or 7; a day of the month *or* of the week matches), 6 and 7
are Quartz's (seconds first; Sunday is 1), and six within `cron(…)` are AWS's (year last; Sunday is 1). Seconds are one number: a schedule
fires at most once a minute. This file is the one of core/ that imports datetime: for calendars; the time now is an argument here too.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum

LATEST_YEAR = 2199
_SECOND = timedelta(seconds=1)
_UNITS_S = {"minute": 60, "hour": 3600, "day": 86_400}
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_RATE = re.compile(r"rate\(\s*(\d{1,6})\s+(minute|hour|day)s?\s*\)\Z", re.ASCII)
_AT = re.compile(r"at\(\s*(\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d)?)\s*\)\Z", re.ASCII)
_AWS = re.compile(r"cron\((.*)\)\Z")
_FIELD = re.compile(r"[0-9A-Z*?,/#-]+\Z", re.ASCII)
_NEAR_END = re.compile(r"L-(\d{1,2})\Z", re.ASCII)
_NAMES = ("second", "minute", "hour", "day of month", "month", "day of week", "year")
_WORDS = {3: {"L", "W", "LW"}, 4: set(_MONTHS), 5: {*_DAYS, "L"}}  # field → letters that it may have


class BadTiming(ValueError):
    """An expression that is none; the text says what is wrong with it."""


class Kind(StrEnum):
    CRON = "cron"
    RATE = "rate"
    AT = "at"


@dataclass(frozen=True, slots=True)
class Timing:
    """An expression, read. `fields`: for croniter, seconds first and the year last."""

    kind: Kind
    fields: str = ""
    from_end: int | None = None  # so many days before the last of the month
    last_weekday: bool = False  # the last Monday to Friday of the month
    every_hour: bool = False  # it follows the clock as it runs
    every_s: int = 0
    at: datetime | None = None  # on the wall


@dataclass(frozen=True, slots=True)
class Fire:
    """A moment (epoch seconds), and what is special about it: that its wall clock shows it never, or twice."""

    at: float
    note: str = ""


def parse(text: str) -> Timing:
    """Raises BadTiming with a sentence."""
    text = text.strip()
    if match := _RATE.match(text):
        every_s = int(match[1]) * _UNITS_S[match[2]]
        if not 60 <= every_s <= 366 * 86_400:
            raise BadTiming(f"{text!r}: say between 1 minute and 366 days")
        return Timing(Kind.RATE, every_s=every_s)
    if match := _AT.match(text):
        try:
            at = datetime.fromisoformat(match[1])
        except ValueError:
            raise BadTiming(f"{text!r} names no time; say it as at(2026-12-01T14:00:00)") from None
        if not 1970 < at.year < 2100:  # beyond the first and the last year there is no such moment in some zones
            raise BadTiming(f"{text!r} lies outside of the years 1971 to 2099")
        return Timing(Kind.AT, at=at)
    if match := _AWS.match(text):
        fields = match[1].upper().split()
        if len(fields) != 6:
            raise BadTiming(f"{text!r} has {len(fields)} fields; cron(…) has six: minute hour day month weekday year")
        return _timing(["0", *fields], sunday=1)
    fields = text.upper().split()
    if len(fields) == 5:
        return _timing(["0", *fields, "*"], sunday=0)
    if len(fields) in (6, 7):
        return _timing([*fields, *["*"] * (7 - len(fields))], sunday=1)
    raise BadTiming(
        f"{text!r} is no schedule: say 5 fields (minute hour day month weekday), Quartz's 6 or 7 (seconds first), "
        "cron(…), rate(5 minutes) or at(2026-12-01T14:00:00)"
    )


def fires(timing: Timing, zone: tzinfo, after: float, anchor: float) -> Iterator[Fire]:
    """The moments later than `after`, in order, each once; ends where there are no more. `anchor`: what a rate counts from."""
    if timing.kind is Kind.RATE:
        step = max(0, int((after - anchor) // timing.every_s) + 1)
        while anchor + step * timing.every_s < _epoch(datetime(LATEST_YEAR, 1, 1, tzinfo=UTC)):
            yield Fire(anchor + step * timing.every_s)
            step += 1
    elif timing.kind is Kind.AT and timing.at is not None:
        if (only := on_the_line(timing.at, zone)).at > after:
            yield only
    elif timing.every_hour:
        yield from _as_it_runs(timing, zone, after)
    else:
        for wall in _walls(timing, _wall(after, zone)):
            fire = on_the_line(wall, zone)
            if fire.at > after:
                yield fire
                after = fire.at


def following(timing: Timing, zone: tzinfo, after: float, anchor: float) -> Fire | None:
    """The first of `fires`, or None."""
    return next(fires(timing, zone, after, anchor), None)


def on_the_line(wall: datetime, zone: tzinfo) -> Fire:
    """When a clock of this zone first shows `wall`, or jumps over it."""
    first, second = _offset(wall, zone, 0), _offset(wall, zone, 1)
    shown = f"{wall:%H:%M:%S}".removesuffix(":00")
    if first == second:
        return Fire(_epoch((wall - first).replace(tzinfo=UTC)))
    if first > second:
        note = f"{shown} comes twice on {wall:%Y-%m-%d}; this is the first"
        return Fire(_epoch((wall - first).replace(tzinfo=UTC)), note)
    jump = _change(zone, (wall - second).replace(tzinfo=UTC), (wall - first).replace(tzinfo=UTC))
    return Fire(_epoch(jump), f"{shown} does not exist on {wall:%Y-%m-%d}; this is when the clock jumps over it")


def local(at: float, zone: tzinfo) -> str:
    """ISO 8601 with the zone's offset at that moment."""
    return _at(at).astimezone(zone).isoformat(timespec="seconds")


def _timing(fields: list[str], *, sunday: int) -> Timing:
    """Seven fields, of which Sunday has the number `sunday`."""
    for index, field in enumerate(fields):
        words = set(re.findall(r"[A-Z]+", field))
        if not _FIELD.match(field) or not words <= _WORDS.get(index, set()):
            raise BadTiming(f"{field!r} is no {_NAMES[index]}")
    seconds, days, weekdays = fields[0], fields[3], fields[5]
    if not seconds.isdigit() or int(seconds) > 59:
        raise BadTiming(f"{seconds!r}: seconds are one number, 0 to 59, since a schedule fires at most once a minute")
    free = [field[0] in "*?" for field in (days, weekdays)]
    if sunday == 1 and "?" not in (days, weekdays):  # who means cron and counts seconds would get something else
        raise BadTiming(
            "Quartz and AWS want ? as the day of month or as the day of week (cron's own five fields begin with the minute)"
        )
    near_end, last_weekday = _NEAR_END.match(days), days == "LW"
    if near_end and int(near_end[1]) > 27:
        raise BadTiming(f"{days!r}: at most 27 days before the last of the month, since February has no more")
    if near_end or last_weekday:
        if not free[1]:
            raise BadTiming(f"{days!r} goes with ? as the day of week only")
        fields[3] = "*"
    if not any(free) and ("W" in days or "L" in weekdays or "#" in weekdays):
        raise BadTiming("W, L and # choose a day by themselves: say * for the other day field")
    if "L" in weekdays or sunday == 1:
        fields[5] = ",".join(_weekday(part, sunday) for part in weekdays.split(","))
    timing = Timing(
        Kind.CRON,
        fields=" ".join(field.replace("?", "*") for field in fields),
        from_end=int(near_end[1]) if near_end else None,
        last_weekday=last_weekday,
        every_hour=fields[2].startswith("*"),
    )
    try:
        if next(_walls(timing, datetime(1970, 1, 1)), None) is None:  # noqa: DTZ001  # a wall clock
            raise BadTiming("there is no such day, in no year: it would never fire")
    except BadTiming:
        raise
    except ValueError as error:
        raise BadTiming(_misread(timing.fields.split(), fields, str(error))) from None
    return timing


def _misread(read: list[str], typed: list[str], error: str) -> str:
    """Which of the fields is none, each looked at alone; else croniter's own words."""
    from croniter import croniter

    for index, field in enumerate(read):
        alone = " ".join(field if index == other else "0" if other == 0 else "*" for other in range(len(read)))
        if not croniter.is_valid(alone, second_at_beginning=True):
            return f"{typed[index]!r} is no {_NAMES[index]}"
    return error


def _weekday(part: str, sunday: int) -> str:
    """One of the days of week in cron's own numbers: `6L` (Quartz's last Friday) → `L5`, `2-6` → `1-5`, `MON#1` as it is."""

    def day(text: str) -> str:
        if text in _DAYS:
            return str(_DAYS.index(text))
        if not text.isdigit() or not sunday <= int(text) <= 7:
            raise BadTiming(f"{text!r} is no day of week; they are SUN to SAT, or {sunday} to 7")
        return str((int(text) - sunday) % 7)

    if part in ("*", "?"):
        return "*"
    if part == "L":
        return "6"
    if part.endswith("L"):
        return f"L{day(part[:-1])}"
    span, slash, step = part.partition("/")
    span, hash_, nth = span.partition("#")
    if span != "*":
        span = "-".join(day(end) for end in span.split("-")) + ("-6" if slash and "-" not in span else "")
    return span + hash_ + nth + slash + step


def _walls(timing: Timing, after: datetime) -> Iterator[datetime]:
    """What a clock without zone shows when it fires, later than `after`. Raises ValueError where croniter cannot read it."""
    from croniter import CroniterBadDateError, croniter  # takes 30 ms, and most functions never need it

    wanted = _wanted(timing)
    walk = croniter(
        timing.fields,
        after.replace(tzinfo=UTC),
        ret_type=datetime,
        max_years_between_matches=LATEST_YEAR - 1970,
        second_at_beginning=True,
    )
    try:
        while (wall := walk.get_next()).year <= LATEST_YEAR:
            if wanted(wall):
                yield wall.replace(tzinfo=None)
    except CroniterBadDateError:
        return


def _wanted(timing: Timing) -> Callable[[datetime], bool]:
    """Whether the day is the one that croniter has no word for."""
    if timing.last_weekday:
        return lambda wall: wall.day == _last_weekday(wall.year, wall.month)
    if timing.from_end is not None:
        before = timing.from_end
        return lambda wall: wall.day == monthrange(wall.year, wall.month)[1] - before
    return lambda wall: True


def _last_weekday(year: int, month: int) -> int:
    first, days = monthrange(year, month)
    return days - max(0, (first + days - 1) % 7 - 4)


def _as_it_runs(timing: Timing, zone: tzinfo, after: float) -> Iterator[Fire]:
    """The clock is followed as long as its offset stays; where that changes, it is read anew."""
    now = _at(after)
    offset = _offset_at(now, zone)
    while True:
        wall = next(_walls(timing, (now + offset).replace(tzinfo=None)), None)
        if wall is None:
            return
        then = (wall - offset).replace(tzinfo=UTC)
        if _offset_at(then, zone) == offset:
            yield Fire(_epoch(then))
            now = then
            continue
        change = _change(zone, now, then)
        offset = _offset_at(change, zone)
        now = change - _SECOND


def _change(zone: tzinfo, before: datetime, after: datetime) -> datetime:
    """The second between two moments from which on another offset holds than before."""
    offset = _offset_at(before, zone)
    while after - before > _SECOND:
        middle = before + timedelta(seconds=(after - before) // _SECOND // 2)
        before, after = (middle, after) if _offset_at(middle, zone) == offset else (before, middle)
    return after


def _offset(wall: datetime, zone: tzinfo, fold: int) -> timedelta:
    return wall.replace(tzinfo=zone, fold=fold).utcoffset() or timedelta()


def _offset_at(moment: datetime, zone: tzinfo) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()


def _wall(at: float, zone: tzinfo) -> datetime:
    return _at(at).astimezone(zone).replace(tzinfo=None)


def _at(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def _epoch(moment: datetime) -> float:
    return moment.timestamp()
