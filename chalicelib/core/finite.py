"""A number that somebody else says, as one that a table can keep."""

from __future__ import annotations

import math
from typing import Any


def finite(said: Any) -> float:
    """As a float. Raises TypeError, ValueError (also for "nan" and what is beyond all floats), OverflowError.

    What is none would be written into a row as null, and nobody could read that row any more.
    """
    number = float(said)
    if not math.isfinite(number):
        raise ValueError(f"{said!r:.40} is no finite number")
    return number
