"""Where a database may lie: file systems and mounts, some of which are refused for writing."""

import dataclasses
import pathlib
import subprocess

from situations.support import mount_image, mount_tmpfs

ENVIRONMENTS = {}
# Small, so that it is soon full; free space is low only below a twentieth of it.
SMALL = "48m"


@dataclasses.dataclass
class Place:
    """Where the program is to write, and what is beneath."""

    db: pathlib.Path
    # A folder of a small file system, which can be filled up.
    small: pathlib.Path | None = None
    # The image that is mounted on `small`.
    image: pathlib.Path | None = None
    # Another path to the same file, where writing is refused, and the reason that must be given.
    refused: pathlib.Path | None = None
    reason: str = ""


@dataclasses.dataclass
class Environment:
    function: callable
    needs: tuple
    traits: frozenset


def environment(*traits, needs=("root",)):
    def register(function):
        ENVIRONMENTS[function.__name__.replace("_", "-")] = Environment(function, needs, frozenset(traits))
        return function

    return register


def mount(*arguments):
    subprocess.run(["mount", *map(str, arguments)], check=True, capture_output=True)


def new_folder(box, name):
    folder = box.folder / name
    folder.mkdir()
    return folder


@environment(needs=())
def plain(box):
    return Place(new_folder(box, "data") / "audit.db")


@environment("small")
def tmpfs(box):
    folder = mount_tmpfs(box.folder / "data", SMALL)
    return Place(folder / "audit.db", small=folder)


@environment("small")
def overlay(box):
    return overlaid(box, in_image=False)


@environment("small")
def overlay_lower(box):
    """The database is part of the container's image, so that the first write copies it up."""
    return overlaid(box, in_image=True)


def overlaid(box, in_image):
    layers = mount_tmpfs(box.folder / "layers", SMALL)
    for name in ("lower", "upper", "work"):
        (layers / name).mkdir()
    if in_image:
        box.record(3, db=layers / "lower" / "audit.db", first=90_000)
    merged = new_folder(box, "data")
    mount("-t", "overlay", "-o", f"lowerdir={layers}/lower,upperdir={layers}/upper,workdir={layers}/work", "none", merged)
    return Place(merged / "audit.db", small=layers)


@environment("small", "image", needs=("root", "mkfs.ext4"))
def ext4(box):
    return imaged(box, "ext4", 48)


@environment("small", "image", needs=("root", "mkfs.xfs"))
def xfs(box):
    return imaged(box, "xfs", 320)


@environment("small", "image", needs=("root", "mkfs.btrfs"))
def btrfs(box):
    """Without copying on write, as docs/operations.md says: SQLite's shared memory is a mapped file, which a full
    disk could not copy, and the kernel ends the process that writes to it (SIGBUS)."""
    place = imaged(box, "btrfs", 144)
    subprocess.run(["chattr", "+C", place.small], check=True)
    return place


def imaged(box, kind, size_mb):
    folder = mount_image(box.folder / "data", kind, size_mb)
    return Place(folder / "audit.db", small=folder, image=pathlib.Path(f"{folder}.img"))


@environment("small")
def bound_folder(box):
    host = mount_tmpfs(box.folder / "host", SMALL)
    container = new_folder(box, "data")
    mount("--bind", host, container)
    return Place(container / "audit.db", small=host)


@environment(needs=())
def linked_folder(box):
    """The folder is reached by a symbolic link, as in volumes of Kubernetes."""
    new_folder(box, "real")
    (box.folder / "data").symlink_to("real")
    return Place(box.folder / "data" / "audit.db")


@environment("refused")
def bound_file(box):
    host = new_folder(box, "host")
    box.record(1, db=host / "audit.db", first=90_000)
    container = new_folder(box, "data")
    (container / "audit.db").touch()
    mount("--bind", host / "audit.db", container / "audit.db")
    return Place(host / "audit.db", refused=container / "audit.db", reason="single file|under another name|hard links")


@environment("refused")
def read_only(box):
    host = new_folder(box, "host")
    box.record(1, db=host / "audit.db", first=90_000)
    container = new_folder(box, "data")
    mount("--bind", host, container)
    mount("-o", "remount,bind,ro", container)
    return Place(host / "audit.db", refused=container / "audit.db", reason="[Rr]ead-only|open for writing elsewhere|hard links")
