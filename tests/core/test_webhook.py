"""Where a webhook may lead."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core import webhook

PRIVATE = [
    "127.0.0.1",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "::1",
    "fd00::1",
    "fe80::1",
    "::ffff:127.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "::127.0.0.1",
    "::ffff:0:127.0.0.1",
    "64:ff9b:1::7f00:1",
    "fec0::1",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_that_are_not_the_internets_are_refused(address: str) -> None:
    """Also where an IPv6 address only wraps one: the metadata service must never be a webhook."""
    assert not webhook.public(address)
    literal = f"[{address}]" if ":" in address else address
    assert webhook.fault(f"https://{literal}/x", ())


@pytest.mark.parametrize(
    "url",
    ["https://marks.example.org", "https://example.org:8443/x?y", "https://1.1.1.1/", "https://[2606:4700::1111]/"],
)
def test_the_public_internet_is_fine(url: str) -> None:
    assert webhook.fault(url, ()) == ""


REFUSED = [
    "http://example.org/",
    "https://example.org:22/",
    "https://metadata/",
    "https://me@example.org/",
    "https://x.internal/",
]


@pytest.mark.parametrize("url", [*REFUSED, "https:///x", "https://a:99999/", "ftp://example.org"])
def test_everything_else_is_refused_with_a_sentence(url: str) -> None:
    assert webhook.fault(url, ())


def test_a_stages_own_hosts_need_be_neither_public_nor_encrypted() -> None:
    assert webhook.fault("http://127.0.0.1:8080/x", ("127.0.0.1",)) == ""
    assert webhook.fault("http://127.0.0.2:8080/x", ("127.0.0.1",))


@given(st.text(max_size=40))
def test_no_text_makes_it_stumble(text: str) -> None:
    for url in (text, f"https://{text}"):
        assert isinstance(webhook.fault(url, ()), str)


def test_the_documented_check_of_a_signature_is_right() -> None:
    """What docs/jobs.md tells receivers to do: it takes ours, and nothing that was changed, however little."""
    page = (Path(__file__).parents[2] / "docs" / "jobs.md").read_text()
    block = next(b for b in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "is_ours" in b)
    space: dict[str, Any] = {}
    exec(block, space)  # ours
    header, body = webhook.signature("key", 1_750_000_000, b'{"a": 1}'), b'{"a": 1}'
    assert space["is_ours"]("key", header, body)
    assert not space["is_ours"]("key2", header, body)
    assert not space["is_ours"]("key", header, body + b" ")
    assert not space["is_ours"]("key", header.replace("t=17", "t=18"), body)
