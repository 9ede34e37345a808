"""What each job that found no place is waiting for, in a sentence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from chalicelib.core.backlog import Entry
from chalicelib.core.catalogue import Capacity
from chalicelib.core.host import Offering
from chalicelib.core.outlook import skipped_until
from chalicelib.core.plan import Target
from chalicelib.core.snapshot import Snapshot

REFUSED = "EC2 refused it: no capacity now, or a launch that it does not accept (the pool's story says which)"


def waits(
    s: Snapshot,
    waiting: Iterable[Entry],
    begins: Mapping[str, float],
    sizes: list[tuple[Offering, Capacity]],
    target: Target,
    full: bool,
) -> Iterator[tuple[Entry, str]]:
    """What each job that found no place is waiting for, as a sentence. `begins`: rank → when it is believed to begin, where it is."""
    spec = s.pool.spec
    skips = {o.key: until for o in spec.offerings if (until := skipped_until(s.pool, o)) > s.now}
    fits: dict[tuple[float, int, int], bool] = {}
    soon: dict[int, str] = {}
    for entry in waiting:
        shape = (entry.cpu, entry.memory_mib, entry.slots)
        if shape not in fits:
            fits[shape] = any(
                entry.cpu <= size.cpu and entry.memory_mib <= size.memory_mib and entry.slots <= size.slots
                for _, size in sizes
            )
        if (begins_at := begins.get(entry.rank)) is not None:
            in_s = max(1, round(begins_at - s.now))
            if in_s not in soon:
                soon[in_s] = f"it fits on a host that is there, in about {in_s} s"
            yield entry, soon[in_s]
        elif spec.killed:
            yield entry, f"the pool has no hosts: {target.why}"
        elif not fits[shape] and skips:
            key, until = min(skips.items(), key=lambda item: item[1])
            yield entry, f"{REFUSED}; next try: {key} at {_clock(until)} UTC"
        elif not fits[shape]:
            yield entry, "no offering that may be tried now is large enough for it"
        elif not spec.scaling_enabled:
            yield entry, "scaling of this pool is switched off, and no host that is there has room for it"
        elif full:
            yield entry, f"all {spec.hosts_max} hosts that the pool may have are taken"
        else:
            yield entry, f"no host has room for it; {target.why}"


def _clock(at: float) -> str:
    seconds = int(at) % 86_400
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}"
