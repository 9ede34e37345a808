"""The picture of one job of a back-test: the zones' prices around it, and below, where each strategy had its hosts."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chalicelib.core.spot_backtest import Case
    from chalicelib.core.spot_history import Market

MARGIN_S = 1800  # of prices shown before the start and after the deadline
COLOURS = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
)  # told apart also by the colour-blind (Okabe and Ito)
ON_DEMAND = "#555555"
ORDER = ("ours", "clairvoyant", "cheapest_now", "max_price_on_demand", "percentile_90", "on_demand")
INCHES = (11.0, 7.0)
DPI = 110


def draw(path: Path, market: Market, case: Case) -> None:
    """Write the picture; its format is the file's ending. Raises BadInput where matplotlib is not installed, or the ending is unknown."""
    from spillway.errors import BadInput

    try:
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
        from matplotlib.figure import Figure
    except ImportError:
        raise BadInput("A plot needs matplotlib: pip install 'spillway[plots]'.") from None
    ours = case.outcomes["ours"]
    begin, end = case.begin - MARGIN_S, ours.deadline_at + MARGIN_S
    colours = {zone: COLOURS[number % len(COLOURS)] for number, zone in enumerate(market.zones)}
    figure = Figure(figsize=INCHES, dpi=DPI, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    _prices(upper, market, colours, begin, end)
    _windows(lower, case, colours)
    for axes in (upper, lower):
        axes.axvline(_time(case.begin), color="black", linewidth=1)
        axes.axvline(_time(case.outcomes["ours"].deadline_at), color="black", linewidth=1, linestyle=":")
    upper.set_title(
        f"{market.instance_type}, a job that starts {_time(case.begin):%Y-%m-%d %H:%M} UTC", loc="left", pad=26
    )
    lower.set_xlim(_time(begin), _time(end))
    dates = AutoDateLocator()
    lower.xaxis.set_major_locator(dates)
    lower.xaxis.set_major_formatter(ConciseDateFormatter(dates, show_offset=False))
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: {error}.") from error


def _prices(axes: Any, market: Market, colours: dict[str, str], begin: float, end: float) -> None:
    from matplotlib.ticker import LogLocator

    for zone, steps in market.zones.items():
        at, times, values = begin, [], []
        for seconds, usd_h in steps.spans(begin, end):
            times.append(_time(at))
            values.append(usd_h)
            at += seconds
        axes.step(
            [*times, _time(end)], [*values, values[-1]], where="post", color=colours[zone], label=zone, linewidth=1.4
        )
    axes.axhline(market.on_demand_usd_h, color=ON_DEMAND, linestyle="--", linewidth=1.2, label="on demand")
    axes.set_yscale("log")
    axes.set_ylabel("USD an hour")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(
        LogLocator(subs=(2.0, 3.0, 5.0))
    )  # more labels would overlap where prices span decades
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.tick_params(axis="y", which="minor", labelsize=7)
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend(loc="lower right", ncols=len(colours) + 1, frameon=False, bbox_to_anchor=(1.0, 0.99))


def _windows(axes: Any, case: Case, colours: dict[str, str]) -> None:
    names = [name for name in ORDER if name in case.outcomes]
    for row, name in enumerate(names):
        outcome = case.outcomes[name]
        for window in outcome.windows:
            colour = colours.get(window.zone, ON_DEMAND)
            left, right = _time(window.begin), _time(window.end)
            axes.barh(row, right - left, left=left, height=0.62, color=colour, edgecolor="white", linewidth=0.5)
            if window.interrupted:
                axes.plot([right], [row], marker="x", color="#B00000", markersize=8, markeredgewidth=2)
    axes.set_yticks(range(len(names)), [f"{name}  {case.outcomes[name].usd:.3f} USD" for name in names])
    axes.invert_yaxis()
    axes.set_xlabel(
        "UTC; from the start (line) to the deadline (dotted). A bar: a host paid for, in its zone's colour; a cross: EC2 took it back"
    )
    axes.grid(visible=True, axis="x", alpha=0.3)


def _time(when: float) -> datetime:
    return datetime.fromtimestamp(when, UTC)
