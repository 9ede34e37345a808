"""Every command that README.md and docs/*.md show can be typed as it is written: it exists, and so do its options.

Lines of code blocks must parse as a whole, with their options' values; a command inside a sentence or a table may leave out what is
required, but names nothing that is not there. Nothing is run.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from spillway.cli import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "infra" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SPILLWAY = typer.main.get_command(app)
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def block_lines(text: str) -> Iterator[str]:
    """The lines of fenced blocks of shell commands and of indented blocks."""
    fence = None
    for line in text.splitlines():
        if line.startswith("```"):
            fence = None if fence is not None else line[3:].strip()
        elif fence in ("", "sh", "bash", "console") or (fence is None and line.startswith("    ")):
            yield line.strip().removeprefix("$ ")


def spans(text: str) -> Iterator[str]:
    """What stands in backquotes inside the text."""
    outside = "".join(part for n, part in enumerate(re.split(r"^```.*$", text, flags=re.MULTILINE)) if n % 2 == 0)
    yield from re.findall(r"`([^`\n]+)`", outside)


def words_of(line: str) -> list[list[str]]:
    """The words of each simple command of a line, without comment and assignments."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError:  # prose, or a line of Python
        return []
    commands: list[list[str]] = [[]]
    for word in words:
        if word in ("&&", "|", ";", "||"):
            commands.append([])
        elif commands[-1] or not re.match(r"[A-Z_]+=", word):
            commands[-1].append(word)
    return commands


def arguments(words: list[str]) -> list[str] | None:
    """What follows `spillway`, `PATH/spillway` or `python -m spillway`; None where it is another program."""
    if words[:1] and Path(words[0]).name == "spillway":
        return words[1:]
    if words[1:3] == ["-m", "spillway"]:
        return words[3:]
    return None


def found(words: list[str]) -> tuple[Any, list[str]]:
    """The command that the words name, and the words after its name. Fails where there is none."""
    command: Any = SPILLWAY
    while (
        words and hasattr(command, "commands") and not words[0].isupper() and not words[0].startswith("-")
    ):  # COMMAND stands for any of them
        assert words[0] in command.commands, f"there is no command `spillway … {words[0]}`"
        command, words = command.commands[words[0]], words[1:]
    return command, words


def options(command: Any) -> set[str]:
    return {name for param in command.params for name in (*param.opts, *param.secondary_opts)} | {"--help"}


def shown(page: Path) -> Iterator[tuple[list[str], bool]]:
    """Every `spillway …` on a page: its words, and whether it stands in a block."""
    text = page.read_text()
    for whole, lines in ((True, block_lines(text)), (False, spans(text))):
        for line in lines:
            for words in words_of(line):
                if (given := arguments(words)) and "|" not in line:
                    yield given, whole


def check(words: list[str], *, whole: bool) -> None:
    command, rest = found(words)
    unknown = [w for w in rest if re.match(r"--?[a-z]", w) and w.split("=")[0] not in options(command)]
    assert not unknown, f"`spillway {shlex.join(words)}`: there is no {', '.join(unknown)}"
    if whole and not hasattr(command, "commands"):
        command.make_context(command.name, list(rest))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_spillway_command_shown_exists(page: Path) -> None:
    """Commands, subcommands, options, and in code blocks their values too."""
    for words, whole in shown(page):
        check(words, whole=whole)


def test_options_in_the_table_of_commands_belong_to_their_command() -> None:
    """`| `spillway demo` | … `--keep` …` in docs/cli.md: the sentence tells of the command in its row."""
    rows = [line.split("|", 2) for line in (ROOT / "docs" / "cli.md").read_text().splitlines() if "| `spillway" in line]
    assert len(rows) > 10
    for _, first, sentence in rows:
        command, _ = found([w for w in shlex.split(first.strip(" `"))[1:] if not re.search(r"[A-Z]", w)])
        named = re.findall(r"`(--[a-z-]+)", sentence)
        assert set(named) <= options(command), f"{first.strip()}: {named}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_make_targets_and_modules_that_are_shown_exist(page: Path) -> None:
    """`make TARGET`, and `python -m MODULE` of this repository."""
    text = page.read_text()
    for line in (*block_lines(text), *spans(text)):
        for words in words_of(line):
            if words[:1] == ["make"] and words[1:]:
                assert words[1] in TARGETS, f"{line}: no such target"
            if words and Path(words[0]).name.startswith("python") and words[1:2] == ["-m"]:
                place = ROOT / words[2].replace(".", "/")
                assert place.with_suffix(".py").exists() or (place / "__main__.py").exists(), f"{line}: no such module"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_files_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)", page.read_text())
    assert [t for t in targets if "://" not in t and not (page.parent / t).exists()] == []


def test_the_readme_shows_commands_at_all() -> None:
    """A change of its form must not make these tests look at nothing."""
    in_blocks = [words for words, whole in shown(ROOT / "README.md") if whole]
    assert len(in_blocks) >= 8


@pytest.mark.parametrize("line", ["demo --forever", "lokal up", "local sideways", "logs", "submit x --timeout soon"])
def test_what_cannot_be_typed_is_found(line: str) -> None:
    with pytest.raises((AssertionError, Exception), match=r"there is no|Missing|a valid"):
        check(shlex.split(line), whole=True)
