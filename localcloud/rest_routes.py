"""The routes of a REST API, from the Swagger 2.0 document that it was imported from."""

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

_FUNCTION = re.compile(r"/functions/(arn:[^/]+)/invocations")


@dataclass(frozen=True)
class Authorizer:
    """A TOKEN authorizer: which function, which header, how long its answer is good for."""

    name: str
    function_arn: str
    header: str
    ttl_s: float
    token_pattern: str | None


@dataclass(frozen=True)
class Route:
    """One method of one path, as it matched a request."""

    template: str
    function_arn: str
    authorizer: Authorizer | None
    parameters: dict[str, str] = field(default_factory=dict)
    mock_headers: dict[str, str] | None = None  # a preflight answer that needs no function


class Swagger:
    """A parsed document. Literal paths win over parameters, `{proxy+}` takes what is left."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._binary = [str(kind) for kind in document.get("x-amazon-apigateway-binary-media-types", [])]
        self._authorizers = _authorizers(document.get("securityDefinitions", {}))
        paths = sorted(document.get("paths", {}).items(), key=lambda item: _precedence(item[0]))
        self._paths = [(template, _pattern(template), methods) for template, methods in paths]

    def route(self, method: str, path: str) -> Route | None:
        """The route of a request, None where API Gateway has none. `path` begins with a slash, without the stage."""
        for template, pattern, methods in self._paths:
            match = pattern.fullmatch(path)
            operation = methods.get(method.lower()) or methods.get("x-amazon-apigateway-any-method") if match else None
            if match and operation:
                parameters = {name.replace("__plus", ""): unquote(value) for name, value in match.groupdict().items()}
                return self._operation(template, operation, parameters)
        return None

    def is_binary(self, content_type: str) -> bool:
        """Whether bodies of this media type travel as base64."""
        kind = content_type.split(";")[0].strip().lower()
        family = kind.split("/")[0] + "/*"
        return bool(kind) and any(known.lower() in (kind, family, "*/*") for known in self._binary)

    def _operation(self, template: str, operation: dict[str, Any], parameters: dict[str, str]) -> Route:
        integration = operation.get("x-amazon-apigateway-integration", {})
        if integration.get("type", "").lower() == "mock":
            return Route(template, "", None, parameters, _mock_headers(integration))
        authorizer = None
        for scheme in operation.get("security", []):
            for name in scheme:
                authorizer = self._authorizers.get(name, authorizer)
        return Route(template, _function(integration.get("uri", "")), authorizer, parameters)


def _authorizers(definitions: dict[str, Any]) -> dict[str, Authorizer]:
    found = {}
    for name, definition in definitions.items():
        detail = definition.get("x-amazon-apigateway-authorizer")
        if detail and detail.get("type") == "token":
            found[name] = Authorizer(
                name=name,
                function_arn=_function(detail["authorizerUri"]),
                header=definition.get("name", "Authorization"),
                ttl_s=float(detail.get("authorizerResultTtlInSeconds", 300)),
                token_pattern=detail.get("identityValidationExpression"),
            )
    return found


def _function(uri: str) -> str:
    match = _FUNCTION.search(uri)
    return match[1] if match else ""


def _mock_headers(integration: dict[str, Any]) -> dict[str, str]:
    parameters = integration.get("responses", {}).get("default", {}).get("responseParameters", {})
    return {name.removeprefix("method.response.header."): value.strip("'") for name, value in parameters.items()}


def _pattern(template: str) -> re.Pattern[str]:
    text = re.escape(template)
    text = re.sub(r"\\\{([A-Za-z0-9_]+)\\\+\\\}", r"(?P<\1__plus>.+)", text)
    return re.compile(re.sub(r"\\\{([A-Za-z0-9_]+)\\\}", r"(?P<\1>[^/]+)", text))


def _precedence(template: str) -> tuple[Any, ...]:
    parts = template.strip("/").split("/")
    return tuple(2 if part.endswith("+}") else 1 if part.startswith("{") else 0 for part in parts)
