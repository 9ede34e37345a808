"""The file that gives an array its elements: nobody is lost in it, and nobody has another's cells."""

from __future__ import annotations

from pathlib import Path

import pytest

from spillway.cli.array import read_elements
from spillway.errors import BadInput


def written(tmp_path: Path, name: str, text: str) -> Path:
    (tmp_path / name).write_text(text)
    return tmp_path / name


def test_cells_are_json_where_they_are_json(tmp_path: Path) -> None:
    """A byte order mark and odd quotes are no matter; who is called NaN is a person."""
    file = written(tmp_path, "a.csv", '\ufeffstudent,n\nNaN,1\n"bo""b, jr",007\n\ncyd,true\n')
    assert read_elements(file) == [
        {"student": "NaN", "n": 1},
        {"student": 'bo"b, jr', "n": "007"},
        {"student": "cyd", "n": True},
    ]
    assert read_elements(written(tmp_path, "a.jsonl", '\ufeff{"n": 1}\n\n{"n": 2}\n')) == [{"n": 1}, {"n": 2}]


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("a.csv", 'student\n"ada\nbob\n', "a.csv, line 3: a quoted cell does not end"),
        ("a.csv", "student,n\nada\n", "a.csv, line 2: 1 cells, and the head has 2"),
        ("a.csv", "student,n\nada,1\nbob, jr,2\n", "a.csv, line 3: 3 cells, and the head has 2"),
        ("a.csv", "student,student\nada,bob\n", "a name of its own"),
        ("a.csv", "student,\nada,1\n", "a name of its own"),
        ("a.csv", "student\n", "holds no parameters"),
        ("a.csv", "", "holds no parameters"),
        ("a.jsonl", '{"n": 1}\n{"n": 2,}\n', "a.jsonl, line 2: is not JSON"),
        ("a.jsonl", "[1]\n", "holds no parameters"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, name: str, text: str, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        read_elements(written(tmp_path, name, text))
