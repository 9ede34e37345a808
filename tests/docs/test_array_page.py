"""docs/arrays.md shows documents that are taken, and Python that runs as it stands."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import msgspec
import pytest

from chalicelib.api.array_wire import ArrayWire, count_of
from chalicelib.api.job_wire import BatchWire, job_spec
from chalicelib.core import admission
from chalicelib.core.pool import PoolSpec
from spillway import Client
from spillway.arrays import Arrays

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "arrays.md").read_text()
EXAMPLES = re.findall(r"^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
PYTHON = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_is_taken(number: int) -> None:
    text = EXAMPLES[number]
    if '"jobs"' in text:
        specs = [job_spec(said) for said in msgspec.json.decode(text, type=BatchWire).jobs]
    else:
        array = msgspec.json.decode(text, type=ArrayWire)
        assert count_of(array) > 0
        specs = [job_spec(array.job)]
    assert not [fault for spec in specs for fault in admission.faults(spec, PoolSpec())]


def test_what_the_page_calls_is_there() -> None:
    """Every method of `spillway` and `spillway.arrays`, with the keywords that are shown."""
    called = 0
    for node in ast.walk(ast.parse(PYTHON[0])):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = Arrays if isinstance(node.func.value, ast.Attribute) else Client
            method = inspect.signature(getattr(owner, node.func.attr))
            method.bind(None, *node.args, **{k.arg: k.value for k in node.keywords if k.arg})
            called += 1
    assert called == 3
