"""API Gateway's own answers, as an API's gateway responses say them: by type, else by DEFAULT_4XX and DEFAULT_5XX, else as AWS ships them.

moto keeps what PutGatewayResponse said; who serves an API looks there when it refuses a request. Templates are taken as they are, except
for `$context.error.messageString`.
"""

import json
from collections.abc import Mapping
from typing import Any

from localcloud.rest_authorizer import Refused

Answer = tuple[int, list[tuple[str, str]], bytes]

_TYPES = {  # x-amzn-ErrorType of a refusal → response type
    "AccessDeniedException": "ACCESS_DENIED",
    "AuthorizerConfigurationException": "AUTHORIZER_CONFIGURATION_ERROR",
    "AuthorizerFailureException": "AUTHORIZER_FAILURE",
    "MissingAuthenticationTokenException": "MISSING_AUTHENTICATION_TOKEN",
    "RequestEntityTooLargeException": "REQUEST_TOO_LARGE",
    "RequestTooLargeException": "REQUEST_TOO_LARGE",
    "UnauthorizedException": "UNAUTHORIZED",
}


def answer(refused: Refused, said: Mapping[str, Any]) -> Answer:
    """The answer of an API with these gateway responses (type → moto's GatewayResponse)."""
    kind = "INTEGRATION_TIMEOUT" if refused.status == 504 else _TYPES.get(refused.kind, "")
    response = said.get(kind) or said.get(f"DEFAULT_{refused.status // 100}XX")
    headers = {"Content-Type": "application/json", "x-amzn-ErrorType": refused.kind}
    if response is None:
        return refused.status, list(headers.items()), json.dumps(refused.body).encode()
    for name, value in (response.response_parameters or {}).items():
        if value.startswith("'"):
            headers[name.removeprefix("gatewayresponse.header.")] = value.strip("'")
    message = json.dumps(next(iter(refused.body.values()), None))
    template = (response.response_templates or {}).get("application/json", '{"message":$context.error.messageString}')
    body = template.replace("$context.error.messageString", message)
    return int(response.status_code or refused.status), list(headers.items()), body.encode()
