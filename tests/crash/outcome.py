"""What came of a campaign, and how it is shown."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from verdict import Finding

MOST_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Outcome:
    """The broken promises, the kills by the moment that they fell into, and everything else that was counted."""

    findings: Sequence[Finding]
    kills: Mapping[str, int]
    counts: Mapping[str, int]


def table(outcome: Outcome) -> str:
    """For people, as lines."""
    rows = [(name, f"{count:,}") for name, count in outcome.counts.items()]
    rows += [(f"  killed: {name}", f"{count:,}") for name, count in outcome.kills.items() if count]
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:<{width}}  {count:>9}" for name, count in rows]
    if outcome.findings:
        by_fault = Counter(finding.fault.value for finding in outcome.findings)
        lines += ["", "Found: " + ", ".join(f"{fault} {count}" for fault, count in by_fault.most_common())]
        lines += [f"  {finding.fault.value}: {finding.what}" for finding in outcome.findings[:MOST_SHOWN]]
        if len(outcome.findings) > MOST_SHOWN:
            lines.append(f"  ... and {len(outcome.findings) - MOST_SHOWN} more, in the log")
    return "\n".join(lines) + "\n"
