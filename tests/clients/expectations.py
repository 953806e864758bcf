"""What the clients have in common."""


class Mismatch(Exception):
    """An answer is not what it should be."""


def expect(what, found, wanted):
    if found != wanted:
        raise Mismatch(f"{what}: expected {wanted!r}, found {found!r}")
