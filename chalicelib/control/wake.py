"""Asking for a look at a pool, without a lock and without losing one.

Theory of operation. The wakes queue is FIFO with the pool as message group, so passes of a pool run one after another. A pass
raises the pool's `pass_no` before it reads anything. Who has changed something calls `wake` *after* its write: it reads
`pass_no` and sends with the deduplication id `pool:pass_no`. If the write came before the running pass's increment, that pass sees it.
If it came after, `pass_no` is one that no message was sent for yet - or one whose message is still waiting, which then starts
a pass that sees it. So a thousand writes during one pass cost one further pass. An id stays swallowed for five minutes after
its message is gone; that is harmless, because the pass that consumed it has raised the number. What a crash between write
and send loses, the tick's own wake (`pool:tick:minute`) repairs.
"""

from __future__ import annotations

from chalicelib.wiring import Plane


def wake(plane: Plane, pool: str) -> None:
    """Ask for a pass that begins after now. Call it after the write that the pass is to see."""
    number = plane.stores.registry.pass_no(pool)
    if number is not None:
        plane.cloud.queues.wake(pool, f"{pool}:{number}")


def wake_on_tick(plane: Plane, pool: str, now: float) -> None:
    """The minute's own wake: its id depends on nothing that could be lost."""
    plane.cloud.queues.wake(pool, f"{pool}:tick:{int(now // 60)}")
