"""Runs the situations, several at a time, each in a mount namespace and a folder of its own."""

import argparse
import concurrent.futures
import importlib
import os
import pathlib
import pkgutil
import random
import shutil
import subprocess
import sys
import tempfile
import time

import matrix
import situations
from situations.support import SITUATIONS, Box, Failed

# No situation waits for longer; the slowest takes a tenth of it on an idle machine.
SECONDS_MAX = 120
# Cells of the matrix among the situations, other ones at each seed.
SAMPLE = 20


def needs_not_met(situation):
    for need in situation.needs:
        if need == "root":
            if os.geteuid() != 0:
                yield "root"
        elif shutil.which(need) is None:
            yield f"the command {need}"


def run_one(name, auditlite):
    """In a process of its own, so that a mount or a limit never leaks into another situation."""
    situation = SITUATIONS[name]
    folder = pathlib.Path(tempfile.mkdtemp(prefix="auditlite-operations-"))
    try:
        situation.function(Box(pathlib.Path(auditlite), folder))
    except Failed as failure:
        print(failure)
        return 1
    finally:
        # Mounts of this situation go with its namespace; what lies beneath them is removed by the parent.
        print(f"folder {folder}", file=sys.stderr)
    return 0


def supervise(name, auditlite):
    started = time.monotonic()
    command = [sys.executable, __file__, "--auditlite", auditlite, "--one", name]
    if os.geteuid() == 0:
        command = ["unshare", "--mount", "--propagation", "private", *command]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        out, err = process.communicate(timeout=SECONDS_MAX)
        code = process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        out, err = process.communicate()
        code, out = 1, out + f"not done within {SECONDS_MAX} s\n"
    for line in err.splitlines():
        if line.startswith("folder "):
            shutil.rmtree(line.removeprefix("folder "), ignore_errors=True)
    return name, code, out + (err if code else ""), time.monotonic() - started


def is_cell(name):
    return name is not None and "." in name


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--auditlite", required=True)
    parser.add_argument("--one")
    parser.add_argument("--matrix", action="store_true", help="all cells of the matrix, and a table of them")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("words", nargs="*")
    options = parser.parse_args()

    if options.matrix or is_cell(options.one):
        matrix.register(matrix.cells())
    else:
        for module in pkgutil.iter_modules(situations.__path__):
            importlib.import_module(f"situations.{module.name}")
    if options.one:
        sys.exit(run_one(options.one, options.auditlite))

    if not options.matrix:
        seed = os.environ.get("AUDITLITE_SEED") or str(random.getrandbits(32))
        print(f"a sample of {SAMPLE} cells of the matrix, AUDITLITE_SEED={seed}")
        matrix.register(matrix.sample(SAMPLE, seed))
    chosen = [n for n in sorted(SITUATIONS) if not options.words or any(w in n for w in options.words)]
    failed, skipped, runnable, outcomes = [], [], [], {}
    for name in chosen:
        missing = list(needs_not_met(SITUATIONS[name]))
        if missing:
            skipped.append(name)
            print(f"SKIPPED  {name}: needs {', '.join(missing)}")
        else:
            runnable.append(name)
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for name, code, output, seconds in pool.map(lambda n: supervise(n, options.auditlite), runnable):
            print(f"{'FAILED ' if code else 'held   '}  {name} ({seconds:.1f} s)", flush=True)
            if is_cell(name):
                outcomes[name] = matrix.outcome(code, output)
            if code:
                failed.append(name)
                print("".join(f"    {line}\n" for line in output.splitlines()), end="")
    if options.matrix:
        print(matrix.table(outcomes))
    print(f"{len(runnable) - len(failed)} passed, {len(failed)} failed, {len(skipped)} skipped")
    must_run_all = os.environ.get("CI") == "true" and os.geteuid() == 0
    sys.exit(1 if failed or not chosen or (must_run_all and skipped) else 0)


if __name__ == "__main__":
    main()
