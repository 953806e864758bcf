"""Every snippet of docs/operations.md, run or validated."""

import dataclasses
import os
import pathlib
import re
import shutil
import subprocess

from .held import accounts
from .restoring import kept_aside
from .support import Box, check, mount_tmpfs, situation

ROOT = pathlib.Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "operations.md"
MIB = 1 << 20
# What the page promises a store takes at its defaults.
STORE_BYTES = 96 * MIB


@dataclasses.dataclass
class Snippet:
    words: list
    language: str
    text: str


def snippets(kind):
    """Those of a kind; fails where one on the page has none, or a kind has none."""
    text = PAGE.read_text()
    pattern = r"<!-- run: ([^\n]*) -->\n```(\w+)\n(.*?)^```$"
    found = [Snippet(m[1].split(), m[2], m[3]) for m in re.finditer(pattern, text, re.S | re.M)]
    check(len(found) == len(re.findall(r"^```\w", text, re.M)), "a snippet is not marked with what runs it")
    known = {"compose", "kubernetes", "systemd", "sh"}
    check({snippet.words[0] for snippet in found} == known, "each kind is known, and there")
    return [snippet for snippet in found if snippet.words[0] == kind]


def in_a_container(box, path, user, group, mounts):
    """Records as this user, where only what is mounted can be written; the root file system is read-only."""
    check(pathlib.PurePath(path).parent in [pathlib.PurePath(mount) for mount in mounts], f"{path} is in no volume")
    volume = box.folder / "volume"
    volume.mkdir()
    os.chown(volume, user, group)
    program = pathlib.Path(shutil.copy(box.auditlite, volume / "auditlite"))
    target = pathlib.Path(path).parent
    mount_tmpfs(pathlib.Path("/srv"), "64m")
    target.mkdir(parents=True)
    subprocess.run(["mount", "--bind", volume, target], check=True)
    subprocess.run(["mount", "-o", "remount,ro", "/srv"], check=True)
    inside = Box(target / program.name, target)
    inside.db = pathlib.Path(path)
    as_user = ("setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", "--no-new-privs", "--bounding-set=-all")
    accounts(inside, inside.record(20, prefix=as_user))
    check((volume / "audit.db").stat().st_uid == user, "the files are the user's")


def bytes_of(text):
    number, unit = re.fullmatch(r"(\d+)([MmGg])i?", text).groups()
    return int(number) * (MIB if unit in "Mm" else MIB << 10)


@situation("root", "datasette")
def the_compose_file_is_run_as_it_says(box):
    import yaml

    (snippet,) = snippets("compose")
    service = yaml.safe_load(snippet.text)["services"]["gateway"]
    targets = [volume.split(":")[1] for volume in service["volumes"]]
    check(not any(target.endswith(".db") for target in targets), "a folder is mounted, not the file")
    check(service["deploy"] == {"replicas": 1, "update_config": {"order": "stop-first"}}, "one writer")
    check(service["read_only"] and service["cap_drop"] == ["ALL"], "it can do no more than it must")
    check(bytes_of(service["mem_limit"]) > STORE_BYTES, "the store's memory fits")
    user, group = map(int, service["user"].split(":"))
    in_a_container(box, service["environment"]["AUDITLITE_DB"], user, group, targets)


@situation("root", "datasette")
def the_kubernetes_manifest_is_run_as_it_says(box):
    import yaml

    (snippet,) = snippets("kubernetes")
    manifest = yaml.safe_load(snippet.text)
    check((manifest["apiVersion"], manifest["kind"]) == ("apps/v1", "StatefulSet"), "it is a StatefulSet")
    spec = manifest["spec"]
    check(spec["replicas"] == 1, "one writer")
    check(spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"], "it selects its own pods")
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    claims = {claim["metadata"]["name"] for claim in spec["volumeClaimTemplates"]}
    check({mount["name"] for mount in container["volumeMounts"]} == claims, "what is mounted is claimed")
    check(not any("subPath" in mount for mount in container["volumeMounts"]), "a folder, not the file")
    check(bytes_of(container["resources"]["limits"]["memory"]) > STORE_BYTES, "the store's memory fits")
    if shutil.which("kubectl"):
        folder = box.folder / "kustomize"
        folder.mkdir()
        (folder / "gateway.yaml").write_text(snippet.text)
        (folder / "kustomization.yaml").write_text("resources: [gateway.yaml]\n")
        subprocess.run(["kubectl", "kustomize", folder], check=True, capture_output=True)
    (path,) = [entry["value"] for entry in container["env"] if entry["name"] == "AUDITLITE_DB"]
    context = pod["securityContext"]
    mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
    in_a_container(box, path, context["runAsUser"], context["runAsGroup"], mounts)


@situation("systemd-analyze")
def the_units_are_those_that_systemd_takes(box):
    units = snippets("systemd")
    for unit in units:
        # It looks for the program too.
        text = re.sub(r"/usr/local/bin/\w+", str(box.auditlite), unit.text)
        (box.folder / unit.words[1]).write_text(text)
    paths = [box.folder / unit.words[1] for unit in units]
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", *paths], capture_output=True, text=True)
    ours = [line for line in done.stderr.splitlines() if any(path.name in line for path in paths)]
    check(done.returncode == 0 and not ours, done.stderr)
    # A word that it does not know is what it is to find.
    paths[0].write_text(paths[0].read_text().replace("StateDirectory=", "StatDirectory="))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", paths[0]], capture_output=True, text=True)
    check("StatDirectory" in done.stderr, done.stderr)


@situation("root", "restic", "rsync")
def the_commands_do_what_they_say(box):
    mount_tmpfs(pathlib.Path("/srv"), "128m")
    for name in ("audit", "backup", "elsewhere"):
        (pathlib.Path("/srv") / name).mkdir()
    pathlib.Path("/srv/restic.password").write_text("a password")
    database, latest = pathlib.Path("/srv/audit/audit.db"), pathlib.Path("/srv/backup/audit-latest.db")
    told = box.record(30, db=database)
    box.run("backup", latest, db=database)
    commands = box.folder / "commands"
    commands.mkdir()
    (commands / "auditlite").symlink_to(box.auditlite)
    env = {**os.environ, "PATH": f"{commands}:{os.environ['PATH']}", "RESTIC_CACHE_DIR": str(box.folder / "cache")}
    for snippet in snippets("sh"):
        done = subprocess.run(["bash", "-euc", snippet.text], capture_output=True, text=True, env=env)
        check(done.returncode == 0, f"{snippet.text}{done.stdout}{done.stderr}")
    accounts(box, told, db=database)
    accounts(box, told, db=pathlib.Path("/srv/elsewhere/audit.db"))
    check(len(kept_aside(database.parent)) == 1, "what was restored over is kept")


@situation()
def the_page_names_every_alarm_and_option_that_there_is(box):
    page = PAGE.read_text()
    health = (ROOT / "src" / "writer" / "health.rs").read_text()
    alarms = re.findall(r"^    ([A-Z]\w+)", health.split("pub enum Alarm {")[1].split("\n}")[0], re.M)
    missing = [alarm for alarm in alarms if f"Alarm::{alarm}" not in page]
    check(alarms and not missing, f"not on the page: {missing}")
    gone = set(re.findall(r"Alarm::(\w+)", page)) - set(alarms)
    check(not gone, f"not in the library: {gone}")
    for command in set(re.findall(r"auditlite(?: --db \S+)? ([a-z]+)", page)) - {"record"}:
        box.run(command, "--help")
