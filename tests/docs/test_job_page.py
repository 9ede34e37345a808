"""docs/jobs.md has every field of a spec, with its default, and its examples are accepted."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chalicelib.api.job_wire import InputWire, JobSpecWire, job_spec
from chalicelib.core import admission, secrets
from chalicelib.core.pool import PoolSpec

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "jobs.md").read_text()
EXAMPLES = re.findall(r"^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
ROWS = dict(re.findall(r"^\| `(\w+)` \| ([^|]*)\| ", PAGE, re.MULTILINE))
REQUIRED = {"command", "timeout_s", "family"}  # or a family has them
SAID_OTHERWISE = {"owner", "retry_on", "family_version"}


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_is_a_job_that_a_pool_would_take(number: int) -> None:
    spec = job_spec(msgspec.json.decode(EXAMPLES[number], type=JobSpecWire))
    assert [*admission.faults(spec, PoolSpec()), *secrets.faults(spec)] == []


def test_every_field_is_there_with_its_default() -> None:
    """A field that is not on the page does not exist for its reader."""
    fields: dict[str, Any] = {f.name: f.default for f in msgspec.structs.fields(JobSpecWire)}
    factories = {f.name: f.default_factory for f in msgspec.structs.fields(JobSpecWire)}
    assert ROWS.keys() >= fields.keys()
    for name, default in fields.items():
        if name in REQUIRED | SAID_OTHERWISE:
            continue
        value = factories[name]() if default is msgspec.NODEFAULT else default
        assert json.loads(ROWS[name].strip("` ")) == value, name


def test_every_kind_of_input_is_there() -> None:
    kinds = {f.name for f in msgspec.structs.fields(InputWire)} - {"path", "unpack"}
    assert kinds == {"sha256", "s3", "text", "git"}
    assert all(re.search(rf"^\| `{kind}` \| ", PAGE, re.MULTILINE) for kind in kinds)
