"""Writes docs/states.md from the state tables; a test compares the two."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from chalicelib.core import host, job

STATES = Path(__file__).with_name("states.md")


def diagram(transitions: dict[StrEnum, dict[StrEnum, StrEnum]]) -> str:
    """A Mermaid state diagram; events that lead the same way share an arrow."""
    lines = ["```mermaid", "stateDiagram-v2"]
    for state, row in transitions.items():
        arrows: dict[str, list[str]] = {}
        for event, to in row.items():
            arrows.setdefault(to.value, []).append(event.value)
        lines += [f"    {state.value} --> {to}: {', '.join(events)}" for to, events in arrows.items()]
        if not row:
            lines.append(f"    {state.value} --> [*]")
    return "\n".join([*lines, "```"])


def table(transitions: dict[StrEnum, dict[StrEnum, StrEnum]]) -> str:
    """State × event as a table; empty where the event is no transition."""
    events = list(dict.fromkeys(event for row in transitions.values() for event in row))
    lines = ["| | " + " | ".join(e.value for e in events) + " |", "|---" * (len(events) + 1) + "|"]
    for state, row in transitions.items():
        lines.append(f"| **{state.value}** | " + " | ".join(row[e].value if e in row else "" for e in events) + " |")
    return "\n".join(lines)


def states() -> str:
    """The whole page."""
    parts = [
        "# States\n\nGenerated from `chalicelib/core/job.py` and `host.py` by `python -m docs.generate`. Do not edit.\n"
    ]
    for name, machine in (("Job", job.TRANSITIONS), ("Host", host.TRANSITIONS)):
        parts.append(f"## {name}\n\n{diagram(machine)}\n\n{table(machine)}\n")  # type: ignore[arg-type]  # enum subclasses
    return "\n".join(parts)


if __name__ == "__main__":
    STATES.write_text(states())
