"""What one answer can hold."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.api.explain_view import WaitView
from chalicelib.api.view import fitting

LAMBDA_MAX = 6_291_456


@given(
    st.lists(st.sampled_from([1, 10_000, 131_072, 700_000, 1_400_000]), max_size=30), st.sampled_from(['"', "x", "\\"])
)
def test_the_pages_of_a_list_are_all_of_it_and_each_passes_through_lambda(sizes: list[int], letter: str) -> None:
    """However large its items are, and though all of them were quotes; an item that is too large by itself comes alone."""
    shown = [WaitView(job=str(n), reason=letter * size) for n, size in enumerate(sizes)]
    found: list[WaitView] = []
    while True:
        items, cut = fitting(shown[len(found) :])
        assert items or not shown
        inner = msgspec.json.encode(items).decode()
        assert len(msgspec.json.encode({"body": inner})) < LAMBDA_MAX
        found += items
        if not cut:
            break
    assert found == shown
