"""Documentation that can drift is compared with what it describes."""

from __future__ import annotations

from docs import generate


def test_the_states_page_is_what_the_tables_say() -> None:
    assert generate.STATES.read_text() == generate.states(), "run `python -m docs.generate`"
