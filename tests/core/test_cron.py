"""When schedules fire: three dialects of cron, rates and single times, across the days on which clocks are changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from chalicelib.core import cron
from chalicelib.core.cron import BadTiming, Fire, following, local, parse
from chalicelib.core.spoken import moment

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/Sao_Paulo",
    "Asia/Kolkata",
    "Africa/Casablanca",
]
MINUTES = ["0", "30", "*/15", "*", "7,45"]
HOURS = ["2", "0", "*", "*/2", "1-3", "23"]


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def after(timing: str, since: str, count: int = 3, zone: ZoneInfo = BERLIN) -> list[str]:
    """Local times, without their seconds."""
    found = islice(cron.fires(parse(timing), zone, at(since), at(since)), count)
    return [local(fire.at, zone).replace(":00+", "+") for fire in found]


@pytest.mark.parametrize(
    ("timing", "times"),
    [
        ("0 2 * * *", ["2027-01-01T02:00", "2027-01-02T02:00"]),
        ("0 12 1 * 1", ["2027-01-01T12:00", "2027-01-04T12:00"]),  # a day of the month or of the week
        ("0 12 * * 7", ["2027-01-03T12:00", "2027-01-10T12:00"]),  # Sunday is 0 and 7
        ("0 12 * * 5L", ["2027-01-29T12:00", "2027-02-26T12:00"]),
        ("0 0 12 ? * 1", ["2027-01-03T12:00", "2027-01-10T12:00"]),  # Quartz: Sunday is 1
        ("0 15 10 ? * 6L", ["2027-01-29T10:15", "2027-02-26T10:15"]),
        ("0 15 10 ? * 6#3", ["2027-01-15T10:15", "2027-02-19T10:15"]),
        ("0 15 10 ? * MON-FRI 2028", ["2028-01-03T10:15", "2028-01-04T10:15"]),
        ("0 0 12 ? * 2/2", ["2027-01-01T12:00", "2027-01-04T12:00"]),  # Monday and every other day to Saturday
        ("0 0 12 L * ?", ["2027-01-31T12:00", "2027-02-28T12:00"]),
        ("0 0 12 LW * ?", ["2027-01-29T12:00", "2027-02-26T12:00"]),
        ("0 0 12 L-3 * ?", ["2027-01-28T12:00", "2027-02-25T12:00"]),
        ("0 0 12 15W * ?", ["2027-01-15T12:00", "2027-02-15T12:00"]),
        ("0 0 12 1W 5 ?", ["2027-05-03T12:00", "2028-05-01T12:00"]),
        ("cron(0 10 ? * MON-FRI *)", ["2027-01-01T10:00", "2027-01-04T10:00"]),
        ("cron(0/15 8 ? * 2 2028)", ["2028-01-03T08:00", "2028-01-03T08:15"]),
        ("0 0 29 2 *", ["2028-02-29T00:00", "2032-02-29T00:00"]),
        ("rate(2 hours)", ["2027-01-01T02:00", "2027-01-01T04:00"]),
        ("rate(1 day)", ["2027-01-02T00:00", "2027-01-03T00:00"]),
        ("at(2027-06-01T14:00:00)", ["2027-06-01T14:00"]),
    ],
)
def test_expressions_mean_what_their_dialect_says(timing: str, times: list[str]) -> None:
    """Told apart by their number of fields, and by `cron(…)`."""
    assert [text[:16] for text in after(timing, "2027-01-01T00:00+01:00", 2)] == times


@pytest.mark.parametrize(
    ("timing", "words"),
    [
        ("", "is no schedule"),
        ("* * * *", "is no schedule"),
        ("@daily", "is no schedule"),
        ("cron(* * * * *)", "six"),
        ("61 * * * *", "'61' is no minute"),
        ("30 25 * * *", "'25' is no hour"),
        ("30 2 * * * *", "want ?"),
        ("cron(0 10 * * * *)", "want ?"),
        ("0 0 * * 8", "'8' is no day of week"),
        ("0 0 0 ? * 8", "is no day of week"),
        ("0 0 0 1 * 2", "want ?"),
        ("0 0 30 2 *", "never fire"),
        ("H * * * *", "is no minute"),
        ("R * * * *", "is no minute"),
        ("* * * * * ?", "one number"),
        ("0,30 * * * * ?", "one number"),
        ("0 0 31 12 5L", "by themselves"),
        ("0 0 0 L-30 * ?", "at most 27"),
        ("rate(0 minutes)", "between"),
        ("rate(5 weeks)", "is no schedule"),
        ("at(2027-02-30T00:00)", "names no time"),
        ("at(0001-01-01T00:00)", "outside of the years"),
        ("at(9999-12-31T23:59)", "outside of the years"),
        ("0 0 \u0661 * *", "is no day of month"),
    ],
    ids=ascii,
)
def test_what_is_no_schedule_is_refused_in_a_sentence(timing: str, words: str) -> None:
    with pytest.raises(BadTiming) as refused:
        parse(timing)
    assert words in str(refused.value)


@given(
    st.text(max_size=40)
    | st.lists(
        st.sampled_from(["0", "5", "*", "?", "L", "W", "#", "/", "-", ",", "MON", "1-3", "*/2", "2027"]), max_size=8
    ).map(" ".join)
)
def test_whatever_is_said_is_read_or_refused(text: str) -> None:
    """No other exception ever."""
    try:
        timing = parse(text)
    except BadTiming:
        return
    following(timing, BERLIN, at("2027-01-01T00:00+01:00"), 0.0)


def test_a_local_time_that_does_not_exist_fires_once_when_the_clock_jumps_over_it() -> None:
    """In Berlin 02:00 to 03:00 of 28 March 2027 is not."""
    fire = following(parse("30 2 * * *"), BERLIN, at("2027-03-27T12:00+01:00"), 0)
    assert fire == Fire(
        at("2027-03-28T03:00+02:00"), "02:30 does not exist on 2027-03-28; this is when the clock jumps over it"
    )
    assert after("*/20 2 * * *", "2027-03-27T12:00+01:00", 2) == ["2027-03-28T03:00+02:00", "2027-03-29T02:00+02:00"]


def test_a_local_time_that_exists_twice_fires_once_the_first_time() -> None:
    """In Berlin 02:00 to 03:00 of 31 October 2027 comes twice."""
    fire = following(parse("30 2 * * *"), BERLIN, at("2027-10-30T12:00+02:00"), 0)
    assert fire == Fire(at("2027-10-31T02:30+02:00"), "02:30 comes twice on 2027-10-31; this is the first")
    assert following(parse("30 2 * * *"), BERLIN, fire.at, 0) == Fire(at("2027-11-01T02:30+01:00"))
    between = at("2027-10-31T02:10+01:00")  # the second time that the clock shows 02:10
    assert following(parse("30 2 * * *"), BERLIN, between, 0) == Fire(at("2027-11-01T02:30+01:00"))


def test_a_schedule_of_every_hour_follows_the_clock_as_it_runs() -> None:
    """Twice in the hour that comes twice, not at all in the one that is not: every half hour stays every half hour."""
    assert after("*/30 * * * *", "2027-10-31T01:50+02:00", 5) == [
        "2027-10-31T02:00+02:00", "2027-10-31T02:30+02:00", "2027-10-31T02:00+01:00", "2027-10-31T02:30+01:00", "2027-10-31T03:00+01:00",
    ]  # fmt: skip
    assert after("*/30 * * * *", "2027-03-28T01:20+01:00", 2) == ["2027-03-28T01:30+01:00", "2027-03-28T03:00+02:00"]


def test_a_rate_knows_no_clocks() -> None:
    """A day is 24 hours, also the one that has 25."""
    assert after("rate(1 day)", "2027-10-30T12:00+02:00", 2) == ["2027-10-31T11:00+01:00", "2027-11-01T11:00+01:00"]


@settings(max_examples=150)
@given(
    minute=st.sampled_from(MINUTES),
    hour=st.sampled_from(HOURS),
    zone=st.sampled_from(ZONES).map(ZoneInfo),
    since=st.integers(1_735_689_600, 1_893_456_000),
)
def test_fires_are_in_order_and_asking_from_any_one_of_them_gives_the_next(
    minute: str, hour: str, zone: ZoneInfo, since: int
) -> None:
    """A scheduler that forgets all but its last fire misses none and repeats none."""
    timing = parse(f"{minute} {hour} * * *")
    found = [f.at for f in islice(cron.fires(timing, zone, float(since), 0.0), 12)]
    assert found[0] > since
    assert all(earlier < later for earlier, later in pairwise(found))
    for earlier, later in pairwise(found):
        fire = following(timing, zone, earlier, 0.0)
        assert fire is not None
        assert fire.at == later


@settings(max_examples=150)
@given(
    minute=st.integers(0, 59),
    hour=st.integers(0, 23),
    zone=st.sampled_from(ZONES).map(ZoneInfo),
    day=st.integers(0, 3000),
)
def test_a_named_time_fires_exactly_once_every_day(minute: int, hour: int, zone: ZoneInfo, day: int) -> None:
    """On each of the zone's days, also on those when its clocks are changed; and by its own clock, where that shows the time."""
    noon = datetime(2025, 1, 1, 12, tzinfo=zone) + timedelta(days=day)
    start = noon.replace(hour=0, minute=0, fold=0)
    end = (start + timedelta(days=1)).replace(fold=0)
    assume(start.utcoffset() == start.replace(fold=1).utcoffset())  # a day begins once
    assume(end.utcoffset() == end.replace(fold=1).utcoffset())
    found = [
        f for f in islice(cron.fires(parse(f"{minute} {hour} * * *"), zone, start.timestamp() - 1, 0.0), 3)
        if start.timestamp() <= f.at < end.timestamp()
    ]  # fmt: skip
    assert len(found) == 1
    shown = datetime.fromtimestamp(found[0].at, zone)
    assert (shown.hour, shown.minute) == (hour, minute) or "does not exist" in found[0].note


@given(st.integers(0, 4_102_444_800))
def test_moments_are_said_as_datetime_says_them(seconds: int) -> None:
    """The calendar in core/spoken.py, against Python's own."""
    assert moment(seconds + 0.5) == datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
