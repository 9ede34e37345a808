"""The REST API over HTTP: API Gateway's proxy integration, with its authorizer.

A WSGI application mounted on the front at `/_rest/<api id>/<stage>/…`. It reads the Swagger document that Chalice
imported (kept on moto's REST API by the gap that bridges ImportRestApi), finds the route, asks the TOKEN authorizer, runs the
function and turns its answer into HTTP. Refusals have API Gateway's status and body, so that clients meet here what they
would meet there.
"""

import base64
import json
import time
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

from moto.backends import get_backend

from localcloud import gateway_responses
from localcloud.front import Front
from localcloud.identity import ACCOUNT_ID
from localcloud.lambdas.functions import Functions
from localcloud.lambdas.invocation import Invocation
from localcloud.rest_authorizer import Authorizers, Refused
from localcloud.rest_routes import Route, Swagger

PREFIX = "/_rest"
BODY_MAX_BYTES = 10_485_760
INTEGRATION_TIMEOUT_S = 29.0
HOP_HEADERS = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "te", "upgrade", "trailer"})


class RestApi:
    """Serves every deployed REST API. `integration_timeout_s` is API Gateway's 29 s except in tests."""

    def __init__(
        self, front: Front, functions: Functions, *, integration_timeout_s: float = INTEGRATION_TIMEOUT_S
    ) -> None:
        self._front = front
        self._functions = functions
        self._timeout_s = integration_timeout_s
        self._authorizers = Authorizers(functions)
        self._parsed: dict[tuple[str, str], tuple[int, Swagger]] = {}

    def start(self) -> None:
        self._front.mount(PREFIX, self)

    def stop(self) -> None:
        """Nothing to end: requests are answered in the front's threads."""

    def api_url(self, name: str | None = None, region: str = "us-east-1") -> str | None:
        """Where the API `name` (any, without one) answers, without a slash at the end; None before it is deployed."""
        for api in list(get_backend("apigateway")[ACCOUNT_ID][region].apis.values()):
            if name in (None, api.name) and api.stages:
                return f"{self._front.url}{PREFIX}/{api.id}/{next(iter(api.stages))}"
        return None

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = Request(environ)
        try:
            answer = self._answer(request)
        except Refused as refused:
            answer = gateway_responses.answer(refused, self._said(request))
        status, headers, body = answer
        headers += [("Content-Length", str(len(body))), ("x-amzn-RequestId", str(uuid.uuid4()))]
        start_response(f"{status} {_phrase(status)}", headers)
        return [body]

    def _said(self, request: "Request") -> dict[str, Any]:
        """The API's own gateway responses."""
        api = get_backend("apigateway")[ACCOUNT_ID][request.region].apis.get(request.api_id)
        return dict(api.gateway_responses) if api is not None else {}

    def _answer(self, request: "Request") -> tuple[int, list[tuple[str, str]], bytes]:
        swagger = self._swagger(request)
        route = swagger.route(request.method, request.path)
        if route is None:
            raise Refused(403, {"message": "Missing Authentication Token"}, "MissingAuthenticationTokenException")
        if len(request.body) > BODY_MAX_BYTES:
            raise Refused(413, {"message": "Request Too Long"}, "RequestTooLargeException")
        if route.mock_headers is not None:
            return 200, [("Content-Type", "application/json"), *route.mock_headers.items()], b""
        authorized = None
        if route.authorizer is not None:
            authorized = self._authorizers.check(route.authorizer, request.headers, request.method_arn)
        event = request.event(route, swagger.is_binary(request.headers.get("Content-Type", "")), authorized)
        outcome = self._run(route, event, request.region)
        if outcome.status == 413:
            raise Refused(413, {"message": "Request Too Long"}, "RequestEntityTooLargeException")
        if outcome.status == 429:
            raise Refused(500, {"message": "Internal server error"}, "InternalServerErrorException")
        if not outcome.ok:
            raise Refused(502, {"message": "Internal server error"}, "InternalServerErrorException")
        return _http(outcome.payload, swagger.is_binary(_first_accepted(request.headers)))

    def _swagger(self, request: "Request") -> Swagger:
        for region, backend in dict(get_backend("apigateway")[ACCOUNT_ID]).items():
            api = backend.apis.get(request.api_id)
            if api is not None and request.stage in api.stages:
                document = getattr(api, "swagger_document", None)
                if document is None:
                    break
                request.region = region
                known = self._parsed.get((region, api.id))
                if known is None or known[0] != id(document):
                    known = self._parsed[region, api.id] = (id(document), Swagger(document))
                return known[1]
        raise Refused(403, {"message": "Forbidden"}, "ForbiddenException")

    def _run(self, route: Route, event: dict[str, Any], region: str) -> Invocation:
        future: Future[Invocation] = Future()
        self._functions.begin(route.function_arn, json.dumps(event).encode(), future.set_result, region=region)
        try:
            return future.result(self._timeout_s)
        except FutureTimeoutError:
            body = {"message": "Endpoint request timed out"}
            raise Refused(504, body, "InternalServerErrorException") from None


class Request:
    """An HTTP request to `/<api id>/<stage>/path`, and the event that a function gets for it."""

    def __init__(self, environ: dict[str, Any]) -> None:
        _, self.api_id, self.stage, *rest = (*environ["PATH_INFO"].split("/", 3), "", "")[:4]
        self.path = "/" + "".join(rest)
        if len(self.path) > 1:
            self.path = self.path.rstrip("/") or "/"
        self.region = "us-east-1"
        self.method: str = environ["REQUEST_METHOD"]
        self.query = parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True)
        self.source_ip: str = environ.get("REMOTE_ADDR", "127.0.0.1")
        self.headers = _headers(environ)
        length = int(environ.get("CONTENT_LENGTH") or 0)
        self.body: bytes = environ["wsgi.input"].read(length) if length else b""

    @property
    def method_arn(self) -> str:
        resource = f"{self.api_id}/{self.stage}/{self.method}{self.path}"
        return f"arn:aws:execute-api:{self.region}:{ACCOUNT_ID}:{resource}"

    def event(self, route: Route, binary: bool, authorized: dict[str, Any] | None) -> dict[str, Any]:
        """The proxy integration's event, payload version 1.0."""
        single = dict(self.query)
        multiple: dict[str, list[str]] = {}
        for name, value in self.query:
            multiple.setdefault(name, []).append(value)
        headers = self.headers | {
            "X-Forwarded-For": self.source_ip,
            "X-Forwarded-Port": "443",
            "X-Forwarded-Proto": "https",
        }
        body = base64.b64encode(self.body).decode() if binary else self.body.decode("utf-8", "replace")
        return {
            "resource": route.template,
            "path": self.path,
            "httpMethod": self.method,
            "headers": headers,
            "multiValueHeaders": {name: [value] for name, value in headers.items()},
            "queryStringParameters": single or None,
            "multiValueQueryStringParameters": multiple or None,
            "pathParameters": route.parameters or None,
            "stageVariables": None,
            "requestContext": self._context(route, authorized),
            "body": body if self.body else None,
            "isBase64Encoded": binary and bool(self.body),
        }

    def _context(self, route: Route, authorized: dict[str, Any] | None) -> dict[str, Any]:
        now = time.time()
        domain = f"{self.api_id}.execute-api.{self.region}.amazonaws.com"
        context: dict[str, Any] = {
            "resourceId": route.template.strip("/").replace("/", "-") or "root",
            "resourcePath": route.template,
            "httpMethod": self.method,
            "extendedRequestId": uuid.uuid4().hex[:16],
            "requestTime": time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(now)),
            "path": f"/{self.stage}{self.path}",
            "accountId": ACCOUNT_ID,
            "protocol": "HTTP/1.1",
            "stage": self.stage,
            "domainPrefix": self.api_id,
            "requestTimeEpoch": int(now * 1000),
            "requestId": str(uuid.uuid4()),
            "identity": {
                "cognitoIdentityPoolId": None,
                "accountId": None,
                "cognitoIdentityId": None,
                "caller": None,
                "sourceIp": self.source_ip,
                "principalOrgId": None,
                "accessKey": None,
                "cognitoAuthenticationType": None,
                "cognitoAuthenticationProvider": None,
                "userArn": None,
                "userAgent": self.headers.get("User-Agent"),
                "user": None,
            },
            "domainName": domain,
            "deploymentId": "local",
            "apiId": self.api_id,
        }
        if authorized is not None:
            context["authorizer"] = authorized
        return context


def _headers(environ: dict[str, Any]) -> dict[str, str]:
    names = {key: key[5:] for key in environ if key.startswith("HTTP_")}
    names |= {key: key for key in ("CONTENT_TYPE", "CONTENT_LENGTH") if environ.get(key)}
    return {"-".join(part.capitalize() for part in name.split("_")): environ[key] for key, name in names.items()}


def _first_accepted(headers: dict[str, str]) -> str:
    return headers.get("Accept", "").split(",")[0]


def _http(payload: bytes, accepts_binary: bool) -> tuple[int, list[tuple[str, str]], bytes]:
    """The function's answer as HTTP. Raises Refused (502) for what is not a proxy response."""
    malformed = Refused(502, {"message": "Internal server error"}, "InternalServerErrorException")
    try:
        answer = json.loads(payload)
        status = int(answer.get("statusCode", 200))
        text = answer.get("body") or ""
        headers = {**(answer.get("headers") or {})}
        pairs = [(str(name), str(value)) for name, value in headers.items()]
        for name, values in (answer.get("multiValueHeaders") or {}).items():
            pairs += [(str(name), str(value)) for value in values]
        if not isinstance(text, str) or not 100 <= status <= 599:
            raise malformed
        decoded = answer.get("isBase64Encoded") and accepts_binary
        body = base64.b64decode(text, validate=True) if decoded else text.encode()
    except (ValueError, TypeError, AttributeError) as error:
        raise malformed from error
    pairs = [(name, value) for name, value in pairs if name.lower() not in HOP_HEADERS]
    if not any(name.lower() == "content-type" for name, _ in pairs):
        pairs.append(("Content-Type", "application/json"))
    return status, pairs, body


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
