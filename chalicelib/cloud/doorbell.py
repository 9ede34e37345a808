"""Ringing many hosts when one unknown id spoils a whole Run Command call.

SSM refuses a call whole if a single id in it is unknown or not registered, and does not say which. So a refused batch is halved until
the bad ids stand alone: one bad id among 50 costs about 12 more calls, which is rare (a host that vanished and is not yet known to have);
all 50 bad cost 99, which is the most a batch can.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

RING_IDS_MAX = 50  # SendCommand takes no more ids in one call


def ring_in_halves(instance_ids: Sequence[str], send: Callable[[list[str]], bool]) -> list[str]:
    """Send to all ids, at most 50 a call; `send` returns False when SSM refused that call whole. Returns the bad ids, in order."""
    ids = list(dict.fromkeys(instance_ids))  # a repeated id is an error for SSM
    todo = [ids[i : i + RING_IDS_MAX] for i in range(0, len(ids), RING_IDS_MAX)]
    refused: list[str] = []
    while todo:
        batch = todo.pop(0)
        if send(batch):
            continue
        if len(batch) == 1:
            refused += batch
            continue
        middle = len(batch) // 2
        todo[:0] = [batch[:middle], batch[middle:]]
    return refused
