"""Compares what auditlite reads of exchanges with what the official SDKs say of them.

Draws instances of the SDKs' response, event, item and usage types, records them with `auditlite record`, and compares
the export with the SDKs' own objects and accumulators. Fails if fewer facts are right than `floor.json` says.
"""

import argparse
import collections
import difflib
import json
import pathlib
import random
import re
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import compare  # noqa: E402
import families  # noqa: E402
import unread  # noqa: E402
from generate import Generator  # noqa: E402

FLOOR = HERE / "floor.json"
TABLE = HERE.parents[1] / "docs" / "wire.md"
REASONS = HERE / "reasons.json"
# The table is of these exchanges, whatever is compared.
TABLE_SEED, TABLE_COUNT = 7, 3000
BEGIN, END = "<!-- unread: begin -->", "<!-- unread: end -->"
MODES = ["all", "none", "some", "some"]


def generated(count, seed):
    """Exchanges of all makers, by their shares."""
    makers = [(maker, share) for family in families.ALL for maker, share in family.MAKERS]
    whole = sum(share for _, share in makers)
    g = Generator(seed)
    exchanges = []
    for maker, share in makers:
        for number in range(max(1, round(count * share / whole))):
            g.mode = MODES[number % len(MODES)]
            exchanges.append(maker(g))
    random.Random(seed).shuffle(exchanges)
    return exchanges, g.seen


def share_of(counts):
    facts = sum(counts[verdict] for verdict in (compare.RIGHT, compare.WRONG, compare.UNREAD))
    return facts, (counts[compare.RIGHT] / facts if facts else 1.0)


def report(counts, width=62):
    print(f"{'type':{width}} {'right':>7} {'wrong':>6} {'unread':>6}")
    for name in sorted(counts):
        right, wrong, unread = (counts[name][verdict] for verdict in (compare.RIGHT, compare.WRONG, compare.UNREAD))
        print(f"{name:{width}} {right:7} {wrong:6} {unread:6}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--auditlite", required=True)
    parser.add_argument("--count", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--samples", type=int, default=0, help="print so many of each kind of difference")
    parser.add_argument("--family", help="only this one")
    parser.add_argument("--raise-floor", action="store_true")
    parser.add_argument("--write-table", action="store_true", help="of docs/wire.md, in place of comparing it")
    options = parser.parse_args()

    exchanges, seen = generated(options.count, options.seed)
    if options.family:
        exchanges = [exchange for exchange in exchanges if exchange.family == options.family]
    with tempfile.TemporaryDirectory() as work:
        rows = compare.record(options.auditlite, exchanges, work)
        counts, by_family, samples = compare.tally(exchanges, rows)
    report(counts)
    print()
    report(by_family)
    if options.samples:
        print()
        for (family, owner, name, verdict), (times, number, expected, found) in sorted(
                samples.items(), key=lambda item: -item[1][0])[:options.samples]:
            print(f"{times:5} {family} {owner} {name} {verdict}: {str(expected)[:120]!r}, found {str(found)[:120]!r}")
            print(f"      {exchanges[number].path} {exchanges[number].response[:600]!r}")
    whole = collections.Counter()
    for found in by_family.values():
        whole.update(found)
    facts, share = share_of(whole)
    print(f"\n{len(exchanges)} exchanges of {len(seen)} types (seed {options.seed}): {facts} facts, "
          f"{whole[compare.RIGHT]} right, {whole[compare.WRONG]} wrong, {whole[compare.UNREAD]} unread: "
          f"{100 * share:.3f} %")
    if options.family:
        return 0
    return below_floor(by_family, options.raise_floor) + stale_table(options)


def below_floor(by_family, is_raised):
    """The floor of each protocol: the share that is right may only rise."""
    floor = json.loads(FLOOR.read_text()) if FLOOR.exists() else {}
    failures = 0
    for family, counts in sorted(by_family.items()):
        _, share = share_of(counts)
        # Another seed or number draws other instances: half a percent is theirs.
        if share + 0.005 < floor.get(family, 0.0):
            print(f"{family}: {share:.4f} of the facts are right, and {floor[family]:.4f} were")
            failures += 1
        floor[family] = max(floor.get(family, 0.0), int(share * 10_000) / 10_000)
    if is_raised and not failures:
        FLOOR.write_text(json.dumps(floor, indent=2, sort_keys=True) + "\n")
    return 1 if failures else 0


def stale_table(options):
    """Whether docs/wire.md says something else than what is not read now."""
    exchanges, _ = generated(TABLE_COUNT, TABLE_SEED)
    with tempfile.TemporaryDirectory() as work:
        found, asked = unread.find(options.auditlite, exchanges, work)
    reasons = [(re.compile(pattern), reason) for pattern, reason in json.loads(REASONS.read_text()).items()]
    lines = ["| type | fields | why |", "|---|---|---|"]
    without = []
    for name, fields in found.items():
        by_reason = {}
        for field in fields:
            reason = next((reason for pattern, reason in reasons if pattern.search(f"{name}.{field}")), None)
            if reason is None:
                without.append(f"{name}.{field}")
            by_reason.setdefault(reason or "not yet", []).append(f"`{field}`")
        for reason, names in by_reason.items():
            lines.append(f"| `{name}` | {', '.join(names)} | {reason} |")
    idle = [pattern.pattern for pattern, _ in reasons
            if not any(pattern.search(f"{name}.{field}") for name, fields in found.items() for field in fields)]
    for pattern in idle:
        print(f"gives a reason for nothing in {REASONS.name}: {pattern}")
    count = sum(len(fields) for fields in found.values())
    print(f"{asked} fields of types asked about, {count} not read, {len(without)} of them without a reason")
    for field in without:
        print(f"neither read nor given a reason in {REASONS.name}: {field}")
    text = TABLE.read_text()
    head, rest = text.split(BEGIN)
    tail = rest.split(END)[1]
    wanted = head + BEGIN + "\n" + "\n".join(lines) + "\n" + END + tail
    if options.write_table:
        TABLE.write_text(wanted)
    elif wanted != text:
        print("docs/wire.md does not list what is not read:")
        sys.stdout.writelines(difflib.unified_diff(text.splitlines(True), wanted.splitlines(True), "now", "is"))
        return 1
    return 1 if without or idle else 0


if __name__ == "__main__":
    sys.exit(main())
