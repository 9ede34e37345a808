"""Small markets of our own making for tests, and the strategies of them as hypothesis sees them."""

from __future__ import annotations

from hypothesis import strategies as st

from chalicelib.core.spot_history import Market, Steps
from chalicelib.core.spot_world import TICK_S, Terms

BEGIN = 1_700_000_010 // TICK_S * TICK_S  # any tick
LIST_USD_H = 1.0
HOUR = 3600


def a_market(**zones: list[tuple[float, float]]) -> Market:
    """A market of one type: zone = [(seconds after BEGIN, USD an hour)]; on demand costs 1 USD an hour."""
    return Market(
        "c9.large",
        {zone: Steps((BEGIN + at, usd_h) for at, usd_h in changes) for zone, changes in zones.items()},
        LIST_USD_H,
    )


def terms(hours: float = 1.0, deadline_hours: float = 2.0, *, reclaims: bool = False) -> Terms:
    return Terms(work_s=round(hours * HOUR), deadline_s=round(deadline_hours * HOUR), reclaims=reclaims)


PRICES = st.sampled_from([0.05, 0.1, 0.12, 0.2, 0.5, 0.99, 1.0, 1.01, 3.0, 10.0, 40.0])
GAPS = st.integers(1, 4000)


@st.composite
def zone_prices(draw: st.DrawFn, before_s: int = 6 * HOUR) -> list[tuple[float, float]]:
    """A price that starts `before_s` before BEGIN and changes some forty times."""
    at, out = -before_s, []
    for gap, usd_h in draw(st.lists(st.tuples(GAPS, PRICES), min_size=1, max_size=40)):
        out.append((float(at), usd_h))
        at += gap
    return out


@st.composite
def any_market(draw: st.DrawFn) -> Market:
    """One to three zones with any prices, far above on demand included."""
    return a_market(**{f"z{n}": draw(zone_prices()) for n in range(draw(st.integers(1, 3)))})


@st.composite
def any_terms(draw: st.DrawFn) -> Terms:
    """Jobs of minutes to two hours whose deadline on demand can meet, sometimes to the second."""
    work_s = draw(st.one_of(st.integers(1, 7200), st.sampled_from([600, 1200, 3600, 7200])))
    spare_ticks = draw(st.one_of(st.integers(0, 8), st.integers(0, 240)))
    deadline_s = (-(-(work_s + 180) // TICK_S) + spare_ticks) * TICK_S
    return Terms(work_s=work_s, deadline_s=deadline_s, reclaims=draw(st.booleans()))
