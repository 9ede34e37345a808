"""What answers are made of: structs, encoded as they stand, from which `/openapi.json` is generated (docs/contracts.md §7).

One noun a file: `job_view.py`, `host_view.py` and so on. A struct's field that is UNSET is left out of the answer; everything else is
always there, so that readers need no defaults of their own.
"""

from __future__ import annotations

import msgspec


class View(msgspec.Struct, frozen=True, kw_only=True):
    """Part of an answer."""
