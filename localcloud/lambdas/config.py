"""A function as it is configured now, read from moto's record of what was deployed."""

from dataclasses import dataclass, field
from typing import Any

from moto.awslambda.models import lambda_backends
from moto.awslambda.utils import get_backend
from moto.awslambda_simple.models import lambda_simple_backends

from localcloud.identity import ACCOUNT_ID


@dataclass(frozen=True)
class FunctionConfig:
    """Everything that a worker is started with. Workers whose configuration differs from the present one are replaced."""

    name: str
    region: str
    arn: str
    handler: str
    runtime: str
    role: str  # the role's name, not its ARN
    timeout_s: float
    memory_mib: int
    environment: tuple[tuple[str, str], ...]
    code_sha256: str  # base64
    reserved_concurrency: int | None = field(compare=False)
    code: bytes = field(compare=False, repr=False)

    @property
    def key(self) -> tuple[str, str]:
        return self.region, self.name


def function_name(name_or_arn: str) -> str:
    """`name` of a name, `account:function:name`, or an ARN, each with or without a qualifier."""
    parts = name_or_arn.split(":")
    if "function" in parts[:-1]:
        return parts[parts.index("function") + 1]
    return parts[0]


def backends() -> list[Any]:
    """moto's Lambda state of every region that is in use; moto has two kinds, with docker and without."""
    kinds = (lambda_simple_backends, lambda_backends)
    return [backend for kind in kinds for backend in list(dict(kind[ACCOUNT_ID]).values())]


def deployed(name: str, region: str) -> FunctionConfig | None:
    """The function `name` as it is deployed in `region`, None when there is none."""
    storage = get_backend(ACCOUNT_ID, region)._lambdas
    entry = storage._functions.get(name)
    return None if entry is None else _from_moto(entry["latest"])


def deployed_everywhere() -> list[FunctionConfig]:
    """Every deployed function of every region."""
    found = []
    for backend in backends():
        found += [_from_moto(entry["latest"]) for entry in list(backend._lambdas._functions.values())]
    return found


def _from_moto(function: Any) -> FunctionConfig:
    reserved = function.reserved_concurrency
    return FunctionConfig(
        name=function.function_name,
        region=function.region,
        arn=f"arn:aws:lambda:{function.region}:{function.account_id}:function:{function.function_name}",
        handler=function.handler or "",
        runtime=function.run_time or "python3.11",
        role=function.role.rsplit("/", 1)[-1],
        timeout_s=float(function.timeout),
        memory_mib=int(function.memory_size),
        environment=tuple(sorted((str(k), str(v)) for k, v in function.environment_vars.items())),
        code_sha256=function.code_sha_256,
        reserved_concurrency=None if reserved is None else int(reserved),
        code=function.code_bytes,
    )
