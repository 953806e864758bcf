"""Clocks that are ahead, and removal by age."""

import json

from .support import check, line, situation

FAR = "2037-01-01 00:00:00"
BY_AGE = ("--content-older-than", "7d", "--metadata-older-than", "30d")


def at(time):
    return ("faketime", time)


def prune(box, *options, codes=(0,), **more):
    """Takes `--yes` where the program knows it: one that does not ask has none."""
    takes_yes = "--yes" in box.run("prune", "--help").stdout
    return box.run("prune", *BY_AGE, *(["--yes"] if takes_yes else []), *options, codes=codes, **more)


@situation("faketime")
def a_clock_ahead_for_a_moment_prunes_nothing(box):
    box.record(20, prefix=at("2026-11-01 12:00:00"))
    box.record(20, first=20, prefix=at("2026-11-03 12:00:00"))
    done = prune(box, codes=None, prefix=at(FAR))
    check(done.returncode == 2, f"pruning is refused: {done.stdout}{done.stderr}")
    check("--clock-is-right" in done.stderr, f"it says what to do: {done.stderr}")
    check(len(box.listed()) == 40, "everything is still there")
    # Others write in that clock too, again and again: they are no witnesses.
    for turn in range(3):
        box.record(5, first=100 + turn * 5, prefix=at(FAR))
        check(prune(box, codes=None, prefix=at(FAR)).returncode == 2, f"refused in turn {turn}")
    # The clock is right again: what is too old goes, and nothing else.
    prune(box, prefix=at("2026-11-08 12:30:00"))
    check(len(box.listed()) == 55, "nothing is a month old")
    kept = [json.loads(entry) for entry in box.run("export", "--content", "full").stdout.splitlines()]
    with_body = [entry["request_id"] for entry in kept if entry["request"].get("text")]
    check(len(with_body) == 35, f"content of the first day is pruned, no other: {len(with_body)}")
    box.verify()


@situation("faketime")
def pruning_after_months_of_rest_takes_a_word(box):
    lines = [line(n, started_at="2026-01-10T00:00:00Z") for n in range(10)]
    box.run("record", "-", lines=lines, prefix=at("2026-01-10 00:00:00"))
    dry = prune(box, "--dry-run", codes=(0, 2), prefix=at("2026-11-10 00:00:00"))
    check("--clock-is-right" in dry.stderr, f"a dry run says so: {dry.stderr}")
    check(prune(box, codes=None, prefix=at("2026-11-10 00:00:00")).returncode == 2, "it is refused")
    prune(box, "--clock-is-right", prefix=at("2026-11-10 00:00:00"))
    check(not box.listed(), "with the word it is done")
    box.verify()
