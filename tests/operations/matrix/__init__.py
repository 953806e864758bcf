"""Environments × faults: in each cell a writer records, a fault strikes, and what was submitted is what is
stored and what was stated as lost, or opening is refused with the reason."""

import random

from situations.support import SITUATIONS, Situation

from .course import Course, Skipped
from .environments import ENVIRONMENTS
from .faults import FAULTS

# Where faults strike an idle writer too.
IDLE_IN = ("plain", "tmpfs", "overlay")
OUTCOME = "outcome "


def cells():
    """Names of all cells: `environment.fault` and `environment.fault.idle`."""
    for fault_name, fault in FAULTS.items():
        for name, environment in ENVIRONMENTS.items():
            if fault.traits <= environment.traits:
                yield f"{name}.{fault_name}"
                if fault.also_idle and name in IDLE_IN:
                    yield f"{name}.{fault_name}.idle"


def register(names):
    """Makes situations of cells."""
    for name in names:
        environment, fault, *moment = name.split(".")
        needs = (*ENVIRONMENTS[environment].needs, *FAULTS[fault].needs)
        SITUATIONS[name] = Situation(lambda box, e=environment, f=fault, m=moment: run(box, e, f, bool(m)), needs)


def sample(count, seed):
    return random.Random(seed).sample(list(cells()), count)


def run(box, environment, fault, is_idle):
    try:
        outcome = Course(box, environment, fault, is_idle).run()
    except Skipped as skipped:
        outcome = f"none ({skipped})"
    print(f"{OUTCOME}{outcome}")


def outcome(code, output):
    if code:
        return "open"
    return next(line for line in output.splitlines() if line.startswith(OUTCOME)).removeprefix(OUTCOME)


def table(outcomes):
    """A row for each fault, a column for each environment."""
    rows = [f"| fault | {' | '.join(ENVIRONMENTS)} |", "|---" * (len(ENVIRONMENTS) + 1) + "|"]
    for fault in FAULTS:
        for suffix in ("", ".idle"):
            found = [outcomes.get(f"{environment}.{fault}{suffix}", "") for environment in ENVIRONMENTS]
            if any(found):
                title = fault.replace("-", " ") + (", idle" if suffix else "")
                rows.append(f"| {title} | {' | '.join(cell.split(' (')[0].replace('none', '') for cell in found)} |")
    return "\n".join(rows)
