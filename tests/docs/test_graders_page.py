"""docs/graders.md: what it says of the graders in examples/graders is what they end with."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from chalicelib.core.adapters import CONVENTIONS
from spillway.cli import app

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "graders.md").read_text()
GRADINGS = re.findall(r"^spillway (grade .+?)  # (.+)$", PAGE, re.MULTILINE)


@pytest.mark.parametrize(("command", "ends"), GRADINGS, ids=[command for command, _ in GRADINGS])
def test_a_grading_of_the_page_ends_as_it_says(
    command: str, ends: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed: graders run in a sandbox")
    monkeypatch.chdir(ROOT)
    done = CliRunner().invoke(app, [*command.split(), "--json", "--into", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["reason"] == ends


def test_the_page_has_a_column_for_each_adapter_and_its_numbers() -> None:
    table = PAGE[PAGE.index("| | `gradescope`") :]
    rows = {
        row.split("|")[1].strip(): [cell.strip() for cell in row.split("|")[2:-1]]
        for row in table.split("\n\n")[0].splitlines()
    }
    assert rows[""] == [f"`{name}`" for name in CONVENTIONS]
    assert len(GRADINGS) >= 5
    for column, convention in enumerate(CONVENTIONS.values()):
        assert rows["work folder"][column] == f"`{convention.folder}`"
        assert rows["results"][column].startswith(f"`{convention.raw}`")
        assert re.findall(r"\d+", rows["`timeout_s`"][column]) == [
            str(limit) for limit in (convention.timeout_s, convention.timeout_max_s) if limit is not None
        ]
        assert rows["installed once on a host"][column] == (f"`{convention.setup}`" if convention.setup else "")
