"""One file, the same bytes every time, for the Python that Amazon Linux 2023 has."""

import ast
import os
import sys
import zipfile
from pathlib import Path

from agent.build import bare, build

SOURCE = Path(__file__).resolve().parents[2] / "agent"
FILES = sorted(SOURCE.rglob("*.py"))


def test_every_file_is_python_3_9_and_imports_only_the_standard_library():
    """Amazon Linux 2023's own Python stays 3.9, and nothing is installed for the agent."""
    for path in FILES:
        tree = ast.parse(path.read_text(), feature_version=(3, 9))
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                top = name.partition(".")[0]
                assert top == "agent" or top in sys.stdlib_module_names, f"{path} imports {name}"


def test_unions_are_not_evaluated_by_python_3_9():
    """`X | None` outside of annotations fails there; annotations are never evaluated, because every file says so."""
    for path in FILES:
        if path.name != "__init__.py" and "->" in path.read_text() and path.name not in ("__main__.py", "build.py"):
            assert "from __future__ import annotations" in path.read_text(), path


def test_building_twice_gives_the_same_bytes(tmp_path):
    """The hash in the manifest is the agent's name: another folder, other times, the same file."""
    one = build(tmp_path / "one")
    os.utime(SOURCE / "loop.py")
    two = build(tmp_path / "two")
    assert one.path.read_bytes() == two.path.read_bytes()
    assert one.sha256 == two.sha256
    assert one.bytes < 150_000
    with zipfile.ZipFile(one.path) as archive:
        assert "__main__.py" in archive.namelist()
        assert not {"agent/build.py", "agent/boot.py"} & set(archive.namelist())


def test_what_is_left_out_is_nothing_that_runs():
    """Without docstrings every file is the same program, and its errors are in the same lines."""
    for path in FILES:
        whole, kept = ast.parse(path.read_text()), ast.parse(bare(path.read_bytes()))
        for node in ast.walk(whole):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
                node.body[0].value.value = ""
        assert ast.dump(whole) == ast.dump(kept), path
        where = [[node.lineno for node in ast.walk(tree) if isinstance(node, ast.stmt)] for tree in (whole, kept)]
        assert where[0] == where[1], path
        assert b"# " not in bare(b"x = 1  # why\n")
