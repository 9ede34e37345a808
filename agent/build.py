"""Builds the agent: one reproducible zip file that `python3 agent.pyz` runs. `python -m agent.build DIR` prints what it made.

What is said to people alone, docstrings and comments, stays here: every new host fetches the file. Lines keep their numbers.
"""

from __future__ import annotations

import ast
import hashlib
import io
import sys
import tokenize
import zipfile
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).resolve().parent
NOT_IN_THE_AGENT = frozenset(("build.py", "boot.py", "local.py", "__main__.py"))
TIMESTAMP = (1980, 1, 1, 0, 0, 0)


class BuiltAgent(NamedTuple):
    """The file, its SHA-256 in hex, and its size."""

    path: Path
    sha256: str
    bytes: int


def _members() -> list[tuple[str, Path]]:
    files = [(str(Path("agent") / path.relative_to(SOURCE)), path) for path in SOURCE.rglob("*.py")]
    inside = [(name, path) for name, path in files if path.relative_to(SOURCE).name not in NOT_IN_THE_AGENT]
    return sorted([*inside, ("__main__.py", SOURCE / "__main__.py")])


def bare(source: bytes) -> bytes:
    """Python without docstrings and comments; each line has the number that it had."""
    lines = source.splitlines(keepends=True)
    for token in tokenize.tokenize(io.BytesIO(source).readline):
        if token.type == tokenize.COMMENT and not token.string.startswith("#!"):
            row, column = token.start
            kept = lines[row - 1].decode()[:column].rstrip()
            lines[row - 1] = kept.encode() + b"\n"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            said = node.body[0]
            first, last = said.lineno - 1, (said.end_lineno or said.lineno) - 1
            end = lines[last][said.end_col_offset :]
            lines[last] = b"\n" if last > first else lines[last]
            lines[first] = lines[first][: said.col_offset] + b'""' + (end if last == first else b"\n")
            for between in range(first + 1, last):
                lines[between] = b"\n"
    return b"".join(lines)


def build(target_dir: Path) -> BuiltAgent:
    """Write `target_dir/agent.pyz`: the same sources give the same bytes."""
    target_dir.mkdir(parents=True, exist_ok=True)
    path = target_dir / "agent.pyz"
    with zipfile.ZipFile(path, "w") as archive:
        for name, source in _members():
            info = zipfile.ZipInfo(name, TIMESTAMP)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            info.create_system = 3
            archive.writestr(info, bare(source.read_bytes()), compresslevel=9)
    data = path.read_bytes()
    return BuiltAgent(path, hashlib.sha256(data).hexdigest(), len(data))


def boot_script() -> str:
    """The user-data script, with its empty manifest line; bootstrap uploads it as `agent/<agent sha256>.boot.py`."""
    return (SOURCE / "boot.py").read_text(encoding="utf-8")


if __name__ == "__main__":
    built = build(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
    sys.stdout.write("%s %s %d bytes\n" % built)
