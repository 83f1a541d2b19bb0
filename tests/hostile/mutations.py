"""Seeded random mutations of a file's bytes: flipped bits, cut ends, moved or repeated pieces, extreme numbers."""

import random
import re

__all__ = ["MUTATIONS", "mutated"]

NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
EXTREME = [b"0", b"-1", b"2147483648", b"18446744073709551616", b"1e999", b"-1e999", b"1e-999", b"NaN", b"9" * 400,
           b"9" * 5000, b"0.5", b"null", b"true", b'"x"', b"[]", b"{}", b"1/0", b"1e9999999"]  # fmt: skip
WORDS = [b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80\x00\x00\x00",
         b"\xff" * 8, b"\x00" * 8, b"\xff\xff\xff\xff\xff\xff\xff\x7f"]  # fmt: skip
TEXTS = [b"\x1b[2J", b"\x00", b"\xff\xfe", b"../", b"&a [*a]", b"!!python/object:os.system ", b"<script>", b"[" * 5000,
         b'{"a":' * 5000, b"\xe2\x80\xae", b"*x", b"<<: ", b"\n---\n", b"null", b": ", b"- ", b"'", b'"']  # fmt: skip


def flipped(data: bytearray, draw: random.Random) -> bytearray:
    for _ in range(draw.choice([1, 1, 2, 8, 64])):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    return data


def flipped_in_front(data: bytearray, draw: random.Random) -> bytearray:
    """Change bytes near the beginning, where headers are."""
    for _ in range(draw.choice([1, 2, 4])):
        data[draw.randrange(min(len(data), 256))] = draw.randrange(256)
    return data


def cut(data: bytearray, draw: random.Random) -> bytearray:
    return data[: draw.randrange(len(data))] if draw.random() < 0.7 else data[draw.randrange(len(data)) :]


def spliced(data: bytearray, draw: random.Random) -> bytearray:
    a, b, length = draw.randrange(len(data)), draw.randrange(len(data)), draw.randrange(1, 200)
    data[a : a + length] = data[b : b + length]
    return data


def repeated(data: bytearray, draw: random.Random) -> bytearray:
    at, length = draw.randrange(len(data)), draw.randrange(1, 200)
    return data[:at] + data[at : at + length] * draw.choice([2, 3, 50]) + data[at + length :]


def numbered(data: bytearray, draw: random.Random) -> bytearray:
    """Replace a number in the text with an extreme one."""
    found = list(NUMBER.finditer(data))
    if not found:
        return worded(data, draw)
    one = draw.choice(found)
    return data[: one.start()] + draw.choice(EXTREME) + data[one.end() :]


def worded(data: bytearray, draw: random.Random) -> bytearray:
    """Overwrite bytes with an extreme binary number, such as a huge size."""
    at, word = draw.randrange(len(data)), draw.choice(WORDS)
    data[at : at + len(word)] = word
    return data


def inserted(data: bytearray, draw: random.Random) -> bytearray:
    at = draw.randrange(len(data))
    return data[:at] + draw.choice(TEXTS) + data[at:]


def deleted(data: bytearray, draw: random.Random) -> bytearray:
    at = draw.randrange(len(data))
    del data[at : at + draw.choice([1, 2, 16, 200])]
    return data


MUTATIONS = [flipped, flipped_in_front, cut, spliced, repeated, numbered, numbered, worded, inserted, deleted]


def mutated(data: bytes, draw: random.Random) -> bytes:
    """Apply one or two mutations."""
    changed = bytearray(data)
    for _ in range(draw.choice([1, 1, 2])):
        changed = draw.choice(MUTATIONS)(changed or bytearray(b"\x00"), draw)
    return bytes(changed)
