"""Writes docs/states.md from the state tables and docs/policies.md from the scaling policies; a test compares them."""

from __future__ import annotations

import inspect
from enum import StrEnum
from pathlib import Path

from chalicelib.core import arrays, host, job
from chalicelib.core.scaling.bounds import Parameter, parameters
from chalicelib.core.scaling.policies import DEFAULT, POLICIES, Policy

STATES = Path(__file__).with_name("states.md")
POLICIES_PAGE = Path(__file__).with_name("policies.md")

POLICIES_HEAD = """# Scaling policies

Generated from `chalicelib/core/scaling/` by `python -m docs.generate`. Do not edit.

A policy says how many hosts a pool wants. Each pass asks it anew; `GET /pools/{pool}/plan` shows its number, what that was computed
from, and the sentence that says why. A pool's settings `policy` and `parameters` choose it, in force from the next pass on:

```json
{"policy": "headroom", "parameters": {"factor": 1.5}}
```

Around every policy, in this order:

1. `killed`: the pool wants none. Nothing is launched, hosts leave when what runs on them has ended, bookings and minimum do not count.
2. `scaling_enabled` false: the pool wants what it has. Nothing is launched, nothing leaves.
3. `hosts_desired`: a person's number, in place of the policy's.
4. The calendar: bookings and people who are looking raise the number, a person's too, ahead by the boot time; they never lower it.
   n = people × jobs per person and hour × seconds per job ÷ 3600 jobs at a time are ⌈(n + 2√n) ÷ slots⌉ hosts.
5. The limits: at least `hosts_min`, at most `hosts_max`, and never more than `budget_usd_h` pays for at list price. The budget
   comes last, so it outweighs the minimum.

A host serves one owner's jobs (docs/operating.md, "Whose hosts"), so all of this is counted owner by owner: `needed` opens no host
for two owners, and `slots`, the jobs that one more host takes at a time, is all jobs divided by the whole hosts that each owner
needs for its own. Where the limits leave no place, idle hosts of other owners make way, the longest idle first; an owner with no
host at all has the emptiest kept for it.

Fewer hosts than there are: only idle hosts leave, after every look of `scale_in_agree_s` found too many and each was idle for
`linger_s`. All policies publish `desired_hosts` (before the limits) and `target_hosts` (after them).
"""


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
        "# States\n\nGenerated from `chalicelib/core/job.py`, `arrays.py` and `host.py` by `python -m docs.generate`. Do not edit.\n"
    ]
    for name, machine in (("Job", job.TRANSITIONS), ("Array", arrays.TRANSITIONS), ("Host", host.TRANSITIONS)):
        parts.append(f"## {name}\n\n{diagram(machine)}\n\n{table(machine)}\n")  # type: ignore[arg-type]  # enum subclasses
    return "\n".join(parts)


def policy_section(policy: Policy) -> str:
    """A policy for operators: when to choose it, its formula, its parameters."""
    formula = inspect.getdoc(policy.decide)
    default = " (the default)" if policy.name == DEFAULT else ""
    rows = "\n".join(parameter_row(p) for p in parameters(policy.parameters))
    head = "| parameter | default | from | to | unit | meaning |\n|---|---|---|---|---|---|\n"
    table = head + rows if rows else "It has no parameters."
    return f"## `{policy.name}`{default}\n\n**Choose it**: {policy.choose}\n\n{formula}\n\nSource: {policy.source}.\n\n{table}\n"


def parameter_row(p: Parameter) -> str:
    unit = p.bounds.unit or "factor"
    return f"| `{p.name}` | {p.default:g} | {p.bounds.ge:g} | {p.bounds.le:g} | {unit} | {p.bounds.about} |"


def policies() -> str:
    """The whole page."""
    return "\n".join([POLICIES_HEAD, *(policy_section(policy) for policy in POLICIES.values())])


if __name__ == "__main__":
    STATES.write_text(states())
    POLICIES_PAGE.write_text(policies())
