#!/usr/bin/env python3
"""A second verifier of auditlite bundles, written from docs/format.md alone.

Standard library only; shares no code with auditlite.

    verifier.py [--key VKEY]... BUNDLE...
    verifier.py --self-test

Prints one line for each bundle. Exit status: 0 all hold, 1 some do not.
"""

import base64
import binascii
import hashlib
import json
import math
import re
import sys

HEAD = b"auditlite-bundle/1\n"
DASH = "\N{EM DASH} "
LINE_BYTES_MAX = 64 * 1024 * 1024
DEPTH_MAX = 64


class Bad(Exception):
    """The bundle does not show what it should."""


# --- Ed25519 (RFC 8032, section 5.1), for checking only -------------------------------------------

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
SQRT_MINUS_1 = pow(2, (P - 1) // 4, P)


def point_add(a, b):
    x1, y1, z1, t1 = a
    x2, y2, z2, t2 = b
    e = (y1 - x1) * (y2 - x2) % P
    f = (y1 + x1) * (y2 + x2) % P
    g = 2 * t1 * t2 * D % P
    h = 2 * z1 * z2 % P
    e, f, g, h = f - e, h - g, h + g, f + e
    return e * f % P, g * h % P, f * g % P, e * h % P


def point_multiply(scalar, point):
    result = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = point_add(result, point)
        point = point_add(point, point)
        scalar >>= 1
    return result


def point_equal(a, b):
    return (a[0] * b[2] - b[0] * a[2]) % P == 0 and (a[1] * b[2] - b[1] * a[2]) % P == 0


def point_decode(data):
    number = int.from_bytes(data, "little")
    sign, y = number >> 255, number & (2**255 - 1)
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * SQRT_MINUS_1 % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = P - x
    return x, y, 1, x * y % P


def is_small(point):
    """Whether its order is at most 8: with such a key or nonce, one signature fits many texts."""
    return point_equal(point_multiply(8, point), (0, 1, 1, 0))


BASE = point_decode((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


def ed25519_verify(public, message, signature):
    if len(public) != 32 or len(signature) != 64:
        return False
    a, r = point_decode(public), point_decode(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= ORDER or is_small(a) or is_small(r):
        return False
    digest = hashlib.sha512(signature[:32] + public + message).digest()
    k = int.from_bytes(digest, "little") % ORDER
    return point_equal(point_multiply(s, BASE), point_add(r, point_multiply(k, a)))


# --- the tree (RFC 6962, section 2.1) -------------------------------------------------------------


def leaf_hash(line):
    return hashlib.sha256(b"\0" + line).digest()


def node_hash(left, right):
    return hashlib.sha256(b"\1" + left + right).digest()


class Range:
    """Leaves from 0 on, as the perfect subtrees that cover them: (width, hash), widest first."""

    def __init__(self):
        self.end = 0
        self.nodes = []

    def add(self, width, hashed):
        self.end += width
        while self.nodes and self.nodes[-1][0] == width:
            hashed = node_hash(self.nodes.pop()[1], hashed)
            width *= 2
        self.nodes.append((width, hashed))

    def root(self):
        if not self.nodes:
            return hashlib.sha256(b"").digest()
        hashed = self.nodes[-1][1]
        for _, left in reversed(self.nodes[:-1]):
            hashed = node_hash(left, hashed)
        return hashed


def widths(begin, end):
    """Widths of the fewest perfect subtrees that cover the leaves from begin to before end."""
    while begin < end:
        width = 1
        while begin % (2 * width) == 0 and begin + 2 * width <= end:
            width *= 2
        yield width
        begin += width


# --- notes and checkpoints ------------------------------------------------------------------------


def unbase64(text):
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Bad("not base64") from error
    if base64.b64encode(data) != (text.encode() if isinstance(text, str) else text):
        raise Bad("not base64 as it is written")
    return data


def number(text):
    if not re.fullmatch(r"0|[1-9][0-9]{0,19}", text) or int(text) >= 2**64:
        raise Bad("not a number as it is written")
    return int(text)


def parse_key(text):
    name, key_id, data = text.strip().split("+", 2)
    public = unbase64(data)
    if public[:1] != b"\x01" or len(public) != 33:
        raise Bad("not an Ed25519 key")
    if hashlib.sha256(name.encode() + b"\n" + public).digest()[:4].hex() != key_id:
        raise Bad("the key's id does not fit")
    return name, bytes.fromhex(key_id), public[1:]


def parse_note(note):
    """Text and signatures [(name, id, signature)] of a note."""
    try:
        note = note.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Bad("the note is not UTF-8") from error
    if any(character < " " and character != "\n" for character in note):
        raise Bad("control characters in the note")
    text, separator, lines = note.rpartition("\n\n")
    if not separator:
        raise Bad("no end of the note's text")
    signatures = []
    for line in lines.split("\n")[:-1] if lines else []:
        parts = line.removeprefix(DASH).split(" ")
        if not line.startswith(DASH) or len(parts) != 2:
            raise Bad("not a signature line")
        name, data = parts
        if not name or len(name.encode()) > 256 or re.search(r"[\s+\x00-\x1f\x7f-\x9f]", name):
            raise Bad("not the name of a key")
        data = unbase64(data)
        if len(data) < 5:
            raise Bad("signature too short")
        signatures.append((name, data[:4], data[4:]))
    if lines and not lines.endswith("\n"):
        raise Bad("cut off after a signature")
    if len(signatures) > 64:
        raise Bad("too many signatures")
    return text + "\n", signatures


def parse_checkpoint(text):
    lines = text.removesuffix("\n").split("\n")
    if len(lines) < 3 or len(lines) > 19 or not all(lines):
        raise Bad("not a checkpoint")
    root = unbase64(lines[2])
    if len(root) != 32:
        raise Bad("not a root")
    return lines[0], number(lines[1]), root


def check_signature(text, signatures, keys):
    is_signed = False
    for name, key_id, signature in signatures:
        for key_name, own_id, public in keys:
            if (name, key_id) == (key_name, own_id):
                if not ed25519_verify(public, text.encode(), signature):
                    raise Bad("a signature is not one of this text")
                is_signed = True
    if not is_signed:
        raise Bad("no given key signed the checkpoint")


# --- bundles --------------------------------------------------------------------------------------


def read_note(stream):
    """The note up to the empty line after it."""
    note, is_text = b"", True
    for line in stream:
        if line == b"\n":
            if not is_text:
                return note
            is_text = False
        elif not is_text and not line.startswith(DASH.encode()):
            raise Bad("the note does not end in an empty line")
        note += line
        if len(note) > 128 * 1024:
            raise Bad("the note is too long")
    raise Bad("the note has no end")


def once(pairs):
    """An object; no name in it may occur twice."""
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise Bad("a name occurs twice")
    return fields


def finite(text):
    value = float(text)
    if math.isinf(value):
        raise Bad("a number that is not finite")
    return value


def no_constant(text):
    raise Bad(f"{text} is not JSON")


def check_unicode(value):
    if isinstance(value, str) and re.search("[\ud800-\udfff]", value):
        raise Bad("half of a surrogate pair")
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list):
        for item in value:
            check_unicode(item)


def check_event(line, seq):
    """That the line is the event of this place, in the one form that docs/format.md states."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Bad(f"line {seq} is not UTF-8") from error
    start = re.match(r'\{"seq":([0-9]+),"at":(-?[0-9]+),"event":"[a-z_]+"', text)
    if not start or not text.endswith("}"):
        raise Bad(f"line {seq} does not begin or end as an event")
    if start[1] != str(seq) or len(start[2]) > 20 or start[2] != str(int(start[2])):
        raise Bad(f"line {seq} is another event")
    if not -(2**63) <= int(start[2]) < 2**63:
        raise Bad(f"line {seq} has no time")
    depth = 0
    for token in re.finditer(r'"[^"\\]*(?:\\.[^"\\]*)*"|[][{}]', text, re.DOTALL):
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(token[0], 0)
        if depth > DEPTH_MAX:
            raise Bad(f"line {seq} is too deep")
    try:
        event = json.loads(
            text,
            object_pairs_hook=once,
            parse_int=finite,
            parse_float=finite,
            parse_constant=no_constant,
        )
    except ValueError as error:
        raise Bad(f"line {seq} is not JSON") from error
    check_unicode(event)


def verify(stream, keys):
    if stream.readline() != HEAD or stream.readline() != b"\n":
        raise Bad("not a bundle")
    text, signatures = parse_note(read_note(stream))
    origin, size, root = parse_checkpoint(text)
    if keys:
        check_signature(text, signatures, keys)
    tree, events = Range(), 0
    while line := stream.readline(LINE_BYTES_MAX):
        if not line.endswith(b"\n"):
            raise Bad("the last line is cut off, or a line is too long")
        line = line[:-1]
        if tree.end >= size:
            raise Bad("more follows after the last event")
        if line.startswith(b"@"):
            parts = line[1:].decode("ascii", "replace").split(" ")
            if len(parts) != 3:
                raise Bad("what stands for events that are left out does not")
            begin, end, hashes = number(parts[0]), number(parts[1]), unbase64(parts[2])
            covered = list(widths(begin, end))
            if begin != tree.end or begin >= end or len(hashes) != 32 * len(covered):
                raise Bad("what stands for events that are left out does not")
            for place, width in enumerate(covered):
                tree.add(width, hashes[32 * place : 32 * place + 32])
        else:
            check_event(line, tree.end)
            tree.add(1, leaf_hash(line))
            events += 1
    if tree.end != size:
        raise Bad(f"{tree.end} events, the checkpoint states {size}")
    if tree.root() != root:
        raise Bad("another root than the checkpoint's")
    return f"{origin} size {size} events {events} root {root.hex()}"


def self_test():
    """Published vectors: roots of RFC 6962 trees, and a note of Go's sumdb/note."""
    leaves = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657",
              "606162636465666768696a6b6c6d6e6f"]
    roots = ["e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
             "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
             "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
             "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
             "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
             "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
             "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
             "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
             "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"]
    tree = Range()
    assert tree.root().hex() == roots[0]
    for leaf, root in zip(leaves, roots[1:]):
        tree.add(1, leaf_hash(bytes.fromhex(leaf)))
        assert tree.root().hex() == root
    key = parse_key("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    note = ("If you think cryptography is the answer to your problem,\n"
            "then you don't know what your problem is.\n\n"
            f"{DASH}PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZ"
            "SNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n")
    text, signatures = parse_note(note.encode())
    check_signature(text, signatures, [key])
    try:
        check_signature(text.replace("think", "thing"), signatures, [key])
    except Bad:
        return
    raise AssertionError("a wrong signature was taken for a right one")


def main(arguments):
    if arguments == ["--self-test"]:
        self_test()
        return 0
    keys, bundles = [], []
    words = iter(arguments)
    for word in words:
        if word == "--key":
            keys.append(parse_key(next(words)))
        else:
            bundles.append(word)
    is_good = True
    for bundle in bundles:
        try:
            with open(bundle, "rb") as stream:
                print(f"good {bundle}: {verify(stream, keys)}")
        except Bad as error:
            is_good = False
            print(f"bad {bundle}: {error}")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
