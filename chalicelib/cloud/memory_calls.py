"""What was asked of the memory cloud, and the faults ordered for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Call:
    """One request as AWS would have counted it: "ec2.RunInstances", when, and what it asked."""

    operation: str
    at: float
    detail: Mapping[str, Any]


@dataclass(slots=True)
class _Fault:
    error: BaseException
    times: int
    answer_lost: bool


class Calls:
    """Every request to the memory cloud in order, and faults to be met by the coming ones."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._faults: dict[str, list[_Fault]] = {}
        self.made: list[Call] = []

    def count(self, operation: str) -> int:
        return sum(call.operation == operation for call in self.made)

    def of(self, operation: str) -> list[Call]:
        return [call for call in self.made if call.operation == operation]

    def fail(self, operation: str, error: BaseException, times: int = 1, *, answer_lost: bool = False) -> None:
        """The next `times` requests of `operation` raise `error`: before anything happened, or (`answer_lost`) after everything did."""
        self._faults.setdefault(operation, []).append(_Fault(error, times, answer_lost))

    @contextmanager
    def call(self, operation: str, **detail: Any) -> Iterator[None]:
        """Record a request and let it meet its fault."""
        self.made.append(Call(operation, self._clock(), detail))
        fault = self._next_fault(operation)
        if fault and not fault.answer_lost:
            raise fault.error
        yield
        if fault:
            raise fault.error

    def _next_fault(self, operation: str) -> _Fault | None:
        waiting = self._faults.get(operation, [])
        if not waiting:
            return None
        fault = waiting[0]
        fault.times -= 1
        if fault.times <= 0:
            waiting.pop(0)
        return fault
