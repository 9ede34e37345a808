"""`/openapi.json`: what every route takes and gives, generated from the structs that decode requests and make answers.

Nothing is written twice: a route's method, path and summary are where it is registered (`answers.router`), its schemas are its structs'.
OpenAPI 3.1, whose schemas are JSON Schema 2020-12, which is what msgspec makes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

import msgspec

from chalicelib.api.answers import Route
from chalicelib.api.view import View
from chalicelib.api.wire import lists_of

ID = {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"}  # of everything that a path names
PROBLEM_TYPE = "application/problem+json"
ETAG = {"ETag": {"description": "The version of what is shown, for If-Match.", "schema": {"type": "string"}}}
IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "description": "Only if what is changed is at this version (412 otherwise).",
    "schema": {"type": "string", "pattern": '^(\\*|(W/)?"[0-9]{1,15}")$'},
}
_NAMED = re.compile(r"\{([a-z_]+)\}")


class FaultProblem(View, frozen=True, kw_only=True):
    """One thing that is wrong: where (`jobs[3].cpu`, empty for the whole), and what."""

    field: str
    message: str


class Problem(View, frozen=True, kw_only=True):
    """Why a request was not served (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FaultProblem]


def document(routes: Iterable[Route], version: str) -> dict[str, Any]:
    """The OpenAPI document of these routes."""
    routes = sorted(routes, key=lambda route: (route.path, route.method))
    types = list(dict.fromkeys([*(t for r in routes for t in (r.takes, r.gives, r.query) if t is not None), Problem]))
    schemas, made = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    known = dict(zip(types, schemas, strict=True))
    components = {name: _ecma(schema) for name, schema in sorted(made.items())}
    queries = {query: components.pop(_name(known[query])) for query in {r.query for r in routes} if query in known}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, known, queries.get(route.query))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Spillway",
            "version": version,
            "description": "Elastic batch jobs and auto-grading on EC2. Times are epoch seconds, durations end in _s, memory in _mib.",
        },
        "servers": [{"url": "."}],
        "security": [{"token": []}],
        "tags": [{"name": name} for name in sorted({_tag(route) for route in routes})],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "spw_ and 43 characters."}
            },
        },
    }


def _operation(route: Route, known: Mapping[Any, Any], query: Any) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "tags": [_tag(route)],
        "parameters": [*_parameters(route, query)],
        "responses": {str(status): _answer(route, status, known) for status in route.statuses} | _refusals(route),
    }
    if route.takes is not None:
        operation["requestBody"] = {
            "required": not route.optional,
            "content": {"application/json": {"schema": known[route.takes]}},
        }
    if route.public:
        operation["security"] = []
    return operation


def _parameters(route: Route, query: Any) -> Iterable[dict[str, Any]]:
    for name in _NAMED.findall(route.path):
        yield {"name": name, "in": "path", "required": True, "schema": ID}
    for name, schema in (query or {}).get("properties", {}).items():
        lists = {"style": "form", "explode": True} if name in lists_of(route.query) else {}
        required = name in query.get("required", ())
        yield {"name": name, "in": "query", "required": required, "schema": _said(schema), **lists}
    if route.if_match:
        yield IF_MATCH


def _said(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a query's parameter: it can be left out, but not be null."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    if len(kinds) == 1:
        schema = {**{k: v for k, v in schema.items() if k != "anyOf"}, **kinds[0]}
    return {k: v for k, v in schema.items() if (k, v) not in (("default", None), ("default", []))}


def _name(schema: Mapping[str, str]) -> str:
    return schema["$ref"].rpartition("/")[2]


def _answer(route: Route, status: int, known: Mapping[Any, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if route.gives is not None:
        answer["content"] = {"application/json": {"schema": known[route.gives]}}
    if route.etag:
        answer["headers"] = ETAG
    return answer


def _refusals(route: Route) -> dict[str, Any]:
    """What else may be answered, by what the route is: all of it is a Problem."""
    statuses = {
        400: route.takes is not None or route.query is not None or "{" in route.path or route.if_match,
        401: not route.public,
        403: not route.public,
        404: "{" in route.path or route.takes is not None or route.query is not None,
        409: route.method != "GET",
        412: route.if_match,
        413: route.takes is not None,
        415: True,
        429: True,
        500: True,
        503: 503 not in route.statuses,
    }
    content = {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        str(status): {"description": HTTPStatus(status).phrase, "content": content}
        for status, possible in statuses.items()
        if possible and status not in route.statuses
    }


def _tag(route: Route) -> str:
    return route.path.split("/")[1].partition(".")[0]


def _ecma(schema: Any) -> Any:
    r"""A schema with ECMA's patterns (there `$` is the end of the text, which Python calls `\Z`), descriptions in one line."""
    if isinstance(schema, dict):
        return {key: _text(key, value) if isinstance(value, str) else _ecma(value) for key, value in schema.items()}
    return [_ecma(item) for item in schema] if isinstance(schema, list | tuple) else schema


def _text(key: str, value: str) -> str:
    if key == "pattern":
        return value.replace(r"\Z", "$")
    return " ".join(value.split()) if key == "description" else value
