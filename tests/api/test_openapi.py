"""`/openapi.json` (chalicelib/api/openapi.py): valid, whole, and generated from what decodes and answers."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from openapi_spec_validator import validate

import app
from chalicelib.api import stage
from chalicelib.api.answers import ROUTES, Route, own, problem
from chalicelib.api.openapi import Problem

ROOT = Path(__file__).parents[2]
DOCUMENT: dict[str, Any] = json.loads(json.dumps(stage.described()))
BARE = {("GET", "/openapi.json")}  # its answer is a document with a schema of its own

routes = pytest.mark.parametrize("route", ROUTES.values(), ids=lambda r: f"{r.method} {r.path}")


def everywhere(document: Any) -> Iterator[tuple[str, Any]]:
    """All names and what stands under them, at any depth."""
    for key, value in document.items() if isinstance(document, dict) else enumerate(document):
        yield str(key), value
        if isinstance(value, dict | list):
            yield from everywhere(value)


def test_it_is_valid_and_has_every_route_that_is_served() -> None:
    validate(DOCUMENT)
    described = {(method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods}
    served = {(method, path) for path, methods in app.app.routes.items() for method in methods}
    assert described == served == set(ROUTES)


def test_it_is_of_the_version_that_the_package_has() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == stage.API_VERSION


def test_operations_are_called_by_names_of_their_own() -> None:
    names = [r.name for r in ROUTES.values()]
    assert len(names) == len(set(names))


def test_its_patterns_are_those_of_json_schema() -> None:
    r"""ECMA knows no `\Z`; there `$` is the end of the whole text."""
    patterns = {value for key, value in everywhere(DOCUMENT) if key == "pattern"}
    assert patterns
    assert not [p for p in patterns if r"\Z" in p]


@routes
def test_every_route_says_what_it_is_and_gives(route: Route) -> None:
    """A sentence, the struct of its answer, the struct of its query; a body only where one is taken."""
    assert route.summary.endswith("."), "the view's docstring is the summary"
    assert "\n" not in route.summary
    assert route.gives is not None or (route.method, route.path) in BARE
    assert route.takes is None or route.method in ("POST", "PUT", "PATCH")
    assert route.takes is not None or route.method not in ("PUT", "PATCH")
    assert route.query is None or route.method == "GET" or route.method == "DELETE"
    operation = DOCUMENT["paths"][route.path][route.method.lower()]
    assert ("security" in operation) == route.public


@routes
def test_what_is_sent_is_refused_where_it_is_not_known(route: Route) -> None:
    """A misspelt field must not be ignored: bodies and queries take no fields but their own."""
    for struct in (route.takes, route.query):
        if struct is not None:
            assert struct.__struct_config__.forbid_unknown_fields


def test_patterns_of_what_is_sent_end_where_the_text_ends() -> None:
    r"""Python's `$` lets a newline follow; `\Z` does not."""
    sent = [struct for r in ROUTES.values() for struct in (r.takes, r.query) if struct is not None]
    _, components = msgspec.json.schema_components(sent)
    patterns = {str(value) for key, value in everywhere(components) if key == "pattern"}
    assert not [p for p in patterns if not p.endswith(r"\Z")]


def test_every_refusal_is_a_problem_also_chalices_own() -> None:
    """As the document says of each status over 400."""
    from chalice import Response  # type: ignore[attr-defined]

    theirs = Response(body={"Code": "UnsupportedMediaType", "Message": "Unsupported media type: x/y"}, status_code=415)
    for answer in (own(theirs), problem(404, "there is no job j")):
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert msgspec.json.decode(answer.body, type=Problem).status == answer.status_code
    fine = Response(body={"Code": "x"}, status_code=200)
    assert own(fine) is fine
    for methods in DOCUMENT["paths"].values():
        for operation in methods.values():
            for status, answer in operation["responses"].items():
                if int(status) >= 400 and status != "503":
                    assert list(answer["content"]) == ["application/problem+json"]
