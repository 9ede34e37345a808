"""Mutation test of the decisions: break one rule at a time and see whether a test notices (`make mutants`).

A mutant is the source with one place changed: a rule taken out of its table, a comparison turned round or moved by one, a condition
always or never met, an operand of `and`/`or` left out, an action not yielded, a figure changed, `min` for `max`. Each is put
into a copy of the tree and the tests of decisions run against it until the first failure, in a forked process, so that
pytest and hypothesis are imported once. What no test notices is printed with its line: either a test is missing, or the change is no
change (`EQUIVALENT` says which ones and why).

    python tests/mutants.py [--only core/retirement.py ...] [--list] [--kinds rule,branch] [--jobs 2]
"""

from __future__ import annotations

import argparse
import ast
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("agent", "chalicelib", "tests", "bench", "docs", "pyproject.toml")
TARGETS = (
    "core/retirement.py",
    "core/consistency.py",
    "core/doorbell.py",
    "core/fleet.py",
    "core/reconcile.py",
    "core/placement.py",
    "core/packing.py",
    "core/room.py",
    "core/shelf.py",
    "core/forecast.py",
    "core/outlook.py",
    "core/waits.py",
    "core/scaling_step.py",
    "core/staffing.py",
    "core/calendar.py",
    "core/quota.py",
    "core/gang.py",
    "core/gathering.py",
    "core/scaling/*.py",
)
FIRST = {  # what is run first, by file; what survives that meets …
    "core/scaling/": ("tests/core/test_scaling.py", "tests/core/test_rules.py"),
    "core/ga": ("tests/core/test_gang_decisions.py", "tests/control/test_gangs.py"),
    "core/quota": ("tests/core/test_quota.py",),
    "core/calendar": ("tests/core/test_calendar.py",),
    "core/placement": ("tests/core/test_placement.py", "tests/core/test_rules.py"),
    "core/packing": ("tests/core/test_placement.py", "tests/core/test_rules.py"),
    "core/room": ("tests/core/test_placement.py", "tests/core/test_rules.py"),
    "core/shelf": ("tests/core/test_placement.py", "tests/core/test_rules.py"),
    "core/forecast": ("tests/core/test_forecast.py", "tests/core/test_rules.py"),
    "core/outlook": ("tests/core/test_scaling_step.py", "tests/core/test_rules.py"),
    "core/waits": ("tests/core/test_scaling_step.py", "tests/core/test_rules.py"),
    "core/scaling_step": ("tests/core/test_scaling_step.py", "tests/core/test_rules.py"),
    "": ("tests/core/test_rules.py", "tests/core/test_reconcile.py"),
}
FAST = ("tests/core",)  # … all of these, …
SLOWER = (
    "tests/control/test_control.py",
    "tests/control/test_repairs.py",
    "tests/control/test_cancel.py",
)  # … and these
LEFT_OUT = "grows_with"  # what measures time says nothing while two trials share a machine
OUTPUT = "output.txt"  # of the last trial
EXAMPLES_MAX = 80  # of one property: hundreds of trials are made
TIMEOUT_S = 90  # of one mutant: one that makes a loop endless is noticed too
NOT_MUTATED = frozenset({"__init__.py"})

# (file, code of the changed line, kind): why that change is none. Lines are named by their text, so that they survive edits elsewhere.
READY = "asked of ready and draining hosts only, which have been ready"
EQUIVALENT: dict[tuple[str, str, str], str] = {  # (file, line of code, kind) → why the change is none
    ("core/quota.py", "if not quotas:", "branch"): "only quicker",
    ("core/quota.py", "if not waits:", "branch"): "only quicker",
    **{
        ("core/retirement.py", "since = max(assignment.assigned_at, host.ready_at or 0.0)", kind): READY
        for kind in ("operand", "figure")
    },
    **{
        (
            "core/retirement.py",
            "return any(now > max(a.assigned_at, host.ready_at or 0.0) + STALLED_S for a in host.assignments) and not any(",
            kind,
        ): READY
        for kind in ("operand", "figure")
    },
    **{
        (
            "core/retirement.py",
            "for host in sorted(idle, key=lambda h: (h.idle_since or 0.0, h.id)):",
            kind,
        ): "idle hosts have a time"
        for kind in ("operand", "figure")
    },
    (
        "core/retirement.py",
        'Rule("again", "EC2 still has it", lambda h, s: s.now - (h.retire_sent_at or 0.0) > RETIRE_AGAIN_S),',
        "figure",
    ): "any time long ago does",
}

FLIPS: dict[type[ast.cmpop], tuple[str, ...]] = {
    ast.Lt: ("<=", ">="),
    ast.LtE: ("<", ">"),
    ast.Gt: (">=", "<="),
    ast.GtE: (">", "<"),
    ast.Eq: ("!=",),
    ast.NotEq: ("==",),
    ast.Is: ("is not",),
    ast.IsNot: ("is",),
    ast.In: ("not in",),
    ast.NotIn: ("in",),
}
ARITHMETIC: dict[type[ast.operator], str] = {ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*", ast.FloorDiv: "*"}
SWAPS = {"min": "max", "max": "min", "any": "all", "all": "any", "floor": "ceil", "ceil": "floor"}


@dataclass(frozen=True)
class Mutant:
    """One changed place. `start`, `end`: byte offsets in the source."""

    file: str
    line: int
    kind: str
    before: str
    after: str
    start: int
    end: int

    def applied(self, source: bytes) -> bytes:
        return source[: self.start] + self.after.encode() + source[self.end :]

    def __str__(self) -> str:
        return f"{self.file}:{self.line} [{self.kind}] {_short(self.before)} → {_short(self.after)}"


def _short(code: str) -> str:
    code = " ".join(code.split())
    return code if len(code) <= 90 else code[:87] + "…"


class _Finder:
    def __init__(self, file: str, source: bytes) -> None:
        self.file = file
        self.source = source
        self.found: list[Mutant] = []
        self._starts = [0]
        for line in source.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))

    def all(self) -> list[Mutant]:
        self._statements(ast.parse(self.source))
        return self.found

    def _span(self, node: ast.AST) -> tuple[int, int]:
        start = self._starts[node.lineno - 1] + node.col_offset  # type: ignore[attr-defined]
        end = self._starts[node.end_lineno - 1] + node.end_col_offset  # type: ignore[attr-defined]
        return start, end

    def _text(self, node: ast.AST) -> str:
        start, end = self._span(node)
        return self.source[start:end].decode()

    def _add(self, kind: str, node: ast.AST, after: str, span: tuple[int, int] | None = None) -> None:
        start, end = span or self._span(node)
        before = self.source[start:end].decode()
        line = self.source[:start].count(b"\n") + 1
        self.found.append(Mutant(self.file, line, kind, before, after, start, end))

    def _statements(self, tree: ast.Module) -> None:
        annotations = {
            id(inner)
            for node in ast.walk(tree)
            for part in (getattr(node, "annotation", None), getattr(node, "returns", None))
            if isinstance(part, ast.AST)
            for inner in ast.walk(part)
        }
        docstrings = {
            id(node.body[0]) for node in ast.walk(tree) if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        }
        decorators = {
            id(inner)
            for node in ast.walk(tree)
            for decorator in getattr(node, "decorator_list", ())
            for inner in ast.walk(decorator)
        }
        for node in ast.walk(tree):
            if id(node) not in annotations | docstrings | decorators:
                self._node(node)

    def _node(self, node: ast.AST) -> None:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
            ) if name.isupper():
                self._rules(value)
            case ast.Compare(ops=[op], left=left, comparators=[right]):
                span = (self._span(left)[1], self._span(right)[0])
                padding = self.source[span[0] : span[1]].decode()
                if "(" not in padding and ")" not in padding:
                    for flip in FLIPS.get(type(op), ()):
                        self._add("compare", node, f" {flip} ", span)
            case ast.BoolOp(values=values):
                for left_out in values:
                    kept = [self._text(value) for value in values if value is not left_out]
                    word = " and " if isinstance(node.op, ast.And) else " or "
                    self._add("operand", node, "(" + word.join(f"({text})" for text in kept) + ")")
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                self._add("not", node, f"({self._text(operand)})")
            case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test):
                if not any(isinstance(inner, ast.NamedExpr) for inner in ast.walk(test)):
                    if not isinstance(node, ast.While):
                        self._add("branch", test, "True")
                    self._add("branch", test, "False")
            case ast.comprehension(ifs=tests):
                for test in tests:
                    if not any(isinstance(inner, ast.NamedExpr) for inner in ast.walk(test)):
                        self._add("branch", test, "True")
            case ast.BinOp(op=op, left=left, right=right) if type(op) in ARITHMETIC:
                span = (self._span(left)[1], self._span(right)[0])
                padding = self.source[span[0] : span[1]].decode()
                if "(" not in padding and ")" not in padding:
                    self._add("arithmetic", node, f" {ARITHMETIC[type(op)]} ", span)
            case ast.Call(func=ast.Name(id=name) as func) | ast.Call(func=ast.Attribute(attr=name) as func) if (
                name in SWAPS
            ):
                text = self._text(func)
                self._add("swap", func, text.removesuffix(name) + SWAPS[name])
            case ast.Constant(value=value) if isinstance(value, int | float) and not isinstance(value, bool):
                self._add("figure", node, f"({value * 2 + 1})")
            case ast.Constant(value=bool() as value):
                self._add("figure", node, str(not value))
            case ast.Expr(value=ast.Yield() | ast.YieldFrom()):
                self._add("effect", node, "yield from ()")
            case ast.Expr(value=ast.Call()) | ast.AugAssign() | ast.Continue() | ast.Break() | ast.Delete():
                self._add("effect", node, "pass")

    def _rules(self, value: ast.expr) -> None:
        """Entries of a table of rules, each left out."""
        for table in ast.walk(value):
            if not isinstance(table, ast.Tuple) or not any(isinstance(e, ast.Call) for e in table.elts):
                continue
            for entry in table.elts:
                kept = [self._text(other) for other in table.elts if other is not entry]
                self._add("rule", table, "(" + "".join(f"{text}, " for text in kept) + ")")
                gone = self.found.pop()
                line = entry.lineno
                self.found.append(Mutant(self.file, line, "rule", self._text(entry), gone.after, gone.start, gone.end))


def mutants_of(root: Path, targets: tuple[str, ...]) -> Iterator[Mutant]:
    """All mutants of these files (patterns below chalicelib/)."""
    for target in targets:
        for path in sorted((root / "chalicelib").glob(target)):
            if path.name not in NOT_MUTATED:
                source = path.read_bytes()
                for mutant in _Finder(str(path.relative_to(root / "chalicelib")), source).all():
                    try:
                        ast.parse(mutant.applied(source))
                    except SyntaxError:
                        continue
                    yield mutant


def notices(tree: Path, tests: tuple[str, ...], timeout_s: float = TIMEOUT_S) -> bool:
    """Whether these tests fail in this tree (or do not end in time)."""
    child = os.fork()
    if child == 0:
        os.setsid()
        _run(tree, tests)
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status) != 0
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


def _run(tree: Path, tests: tuple[str, ...]) -> None:
    """In the child: never returns."""
    code = 2
    try:
        import hypothesis
        import pytest

        ordered = hypothesis.settings.__init__

        def fewer(self: hypothesis.settings, *args: object, **said: object) -> None:
            most = said.get("max_examples")
            ordered(self, *args, **{**said, "max_examples": min(most, EXAMPLES_MAX)} if isinstance(most, int) else said)

        hypothesis.settings.__init__ = fewer
        quiet = os.open(tree / OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        os.chdir(tree)
        sys.path.insert(0, str(tree))
        sys.dont_write_bytecode = True
        there = [test for test in tests if (tree / test).exists()]
        code = int(
            pytest.main(
                [
                    "-x",
                    "-q",
                    "-p",
                    "no:cacheprovider",
                    "--timeout=0",
                    "--show-capture=no",
                    "--no-header",
                    "-k",
                    f"not {LEFT_OUT}",
                    *there,
                ]
            )
        )
    finally:
        os._exit(code)


def _copy(source: Path, tree: Path) -> None:
    for part in COPIED:
        if (source / part).is_dir():
            shutil.copytree(source / part, tree / part, ignore=shutil.ignore_patterns("__pycache__", ".hypothesis"))
        elif (source / part).exists():
            shutil.copy(source / part, tree / part)


def _share(base: Path, mutants: list[Mutant], number: int, answers: int) -> None:
    """In a worker: try these mutants in a tree of its own; write `worker index noticed` lines to `answers`."""
    import hypothesis  # noqa: F401  # before the fork, so that each child has it
    import pytest  # noqa: F401

    with tempfile.TemporaryDirectory(prefix="mutants-") as name:
        tree = Path(name)
        _copy(base, tree)
        for index, mutant in enumerate(mutants):
            path = tree / "chalicelib" / mutant.file
            source = path.read_bytes()
            path.write_bytes(mutant.applied(source))
            try:
                noticed = notices(tree, tests_of(mutant.file)) or notices(tree, (*FAST, *SLOWER))
            finally:
                path.write_bytes(source)
            os.write(answers, f"{number} {index} {int(noticed)}\n".encode())


def tests_of(file: str) -> tuple[str, ...]:
    """The tests that most likely notice a change of this file."""
    for prefix, tests in FIRST.items():
        if file.startswith(prefix):
            return tests
    return FIRST[""]


def main(arguments: list[str] | None = None) -> int:
    """Exit code 1 where a mutant survives that is not known to be equivalent."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", default=list(TARGETS), help="files below chalicelib/")
    parser.add_argument("--kinds", default="", help="comma-separated kinds of mutants")
    parser.add_argument("--list", action="store_true", help="name the mutants and try none")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--root", type=Path, default=ROOT, help="the tree to try")
    parser.add_argument("--every", type=int, default=1, help="try only every n-th")
    options = parser.parse_args(arguments)
    kinds = set(filter(None, options.kinds.split(",")))
    with tempfile.TemporaryDirectory(prefix="mutants-") as name:
        base = Path(name)  # others may be editing the tree
        _copy(options.root, base)
        return _report(base, options, kinds)


def _report(base: Path, options: argparse.Namespace, kinds: set[str]) -> int:
    found = [m for m in mutants_of(base, tuple(options.only)) if not kinds or m.kind in kinds]
    found = found[:: options.every]
    if options.list:
        for mutant in found:
            sys.stdout.write(f"{mutant}\n")
        sys.stdout.write(f"{len(found)} mutants\n")
        return 0
    survivors = list(_tried(base, found, options.jobs))
    lines = {file: (base / "chalicelib" / file).read_text().splitlines() for file in {m.file for m in survivors}}
    left = 0
    for mutant in sorted(survivors, key=lambda m: (m.file, m.line)):
        code = lines[mutant.file][mutant.line - 1].strip()
        why = EQUIVALENT.get((mutant.file, code, mutant.kind))
        left += why is None
        sys.stdout.write(f"SURVIVED {mutant}{f' (equivalent: {why})' if why else ''}\n")
    killed = len(found) - len(survivors)
    sys.stdout.write(f"{len(found)} mutants, {killed} killed, {len(survivors)} survived, {left} of them unexplained\n")
    return 1 if left else 0


def _tried(base: Path, found: list[Mutant], jobs: int) -> Iterator[Mutant]:
    """Those that survive, as they are found."""
    if notices(base, (*FAST, *SLOWER), timeout_s=600):
        lines = [line for line in (base / OUTPUT).read_text().splitlines() if not line.startswith("{")]
        sys.exit("\n".join([*lines[-40:], "the tests fail without any mutant: see to that first"]))
    reader, writer = os.pipe()
    shares = [found[number::jobs] for number in range(jobs)]
    workers = []
    for number, share in enumerate(shares):
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            try:
                _share(base, share, number, writer)
            finally:
                os._exit(0)
        workers.append(pid)
    os.close(writer)
    tried = 0
    with os.fdopen(reader) as answers:
        for answer in answers:
            number, index, noticed = map(int, answer.split())
            tried += 1
            if not noticed:
                sys.stderr.write(f"[{tried}/{len(found)}] survived: {shares[number][index]}\n")
                yield shares[number][index]
            elif tried % 25 == 0:
                sys.stderr.write(f"[{tried}/{len(found)}]\n")
    for pid in workers:
        os.waitpid(pid, 0)
    if tried != len(found):
        sys.exit(f"{len(found) - tried} mutants were not tried: a worker died")


if __name__ == "__main__":
    sys.exit(main())
