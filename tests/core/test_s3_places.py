"""Where jobs may take S3 objects from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.s3_places import Place, find, place, split

NAMES = st.from_regex(r"[a-z0-9]{3,8}", fullmatch=True)
KEYS = st.from_regex(r"[a-z]{1,4}(/[a-z]{1,4}){0,3}", fullmatch=True)


@given(
    bucket=NAMES,
    key=KEYS,
    owner=NAMES,
    other=NAMES,
    prefix=st.sampled_from(["", "a/", "a/b/", "{owner}/", "x/{owner}/"]),
)
def test_an_object_is_allowed_exactly_below_a_named_prefix(
    bucket: str, key: str, owner: str, other: str, prefix: str
) -> None:
    """The prefix ends in a slash, so `a/` never lets anybody into `ab/`; `{owner}` lets each owner into its own."""
    one = place(f"us-east-1:{bucket}/{prefix}")
    own = prefix.replace("{owner}", owner)
    assert find(f"s3://{bucket}/{own}{key}", owner, [one]) == one
    assert (find(f"s3://{bucket}/{key}", owner, [one]) is None) == (not key.startswith(own))
    if prefix and other != owner and not other.startswith(owner):
        theirs = prefix.replace("{owner}", other)
        assert (find(f"s3://{bucket}/{theirs}{key}", owner, [one]) is None) == (theirs != own)
    assert find(f"s3://{bucket}x/{own}{key}", owner, [one]) is None
    assert place(str(one)) == one


@pytest.mark.parametrize(
    "text", ["b/p/", "us-east-1:b/p", "us-east-1:bu/*/", "us-east-1:bu/${x}/", "us-east-1:bu", "us-east-1:bu//"]
)
def test_what_could_open_more_than_it_says_is_no_place(text: str) -> None:
    """Wildcards and variables would mean something to IAM, and a prefix without a slash would open its neighbours."""
    with pytest.raises(ValueError, match="is no place in S3"):
        place(text)


def test_an_address_is_its_bucket_and_the_rest() -> None:
    assert split("s3://b-1/a/b c") == ("b-1", "a/b c")
    assert find("s3://b-1/a", "o", [Place("us-east-1", "b-1")]) is not None
