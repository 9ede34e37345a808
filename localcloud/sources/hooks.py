"""Replaces methods of moto's classes while the embedded cloud runs, and puts the originals back when it stops.

moto calls Lambda in the sender's thread, synchronously, at once and with made-up records. Some senders never pass the
front (SNS to SQS, redrive, EventBridge to SQS), so the change has to be made inside moto's models.
"""

from collections.abc import Callable
from typing import Any

_MISSING = object()


class Hooks:
    """Attributes of classes, replaced until `restore`."""

    def __init__(self) -> None:
        self._originals: list[tuple[type, str, object]] = []

    def replace(self, owner: type, name: str, make: Callable[[Any], Any]) -> None:
        """Set `owner.name` to `make(what was there)`; None is passed where there was nothing."""
        original = owner.__dict__.get(name, _MISSING)
        self._originals.append((owner, name, original))
        setattr(owner, name, make(None if original is _MISSING else original))

    def restore(self) -> None:
        """Put everything back, the last replacement first."""
        while self._originals:
            owner, name, original = self._originals.pop()
            if original is _MISSING:
                delattr(owner, name)
            else:
                setattr(owner, name, original)
