"""The IDX reader trusts no header."""

import gzip
import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from advdistill.data.fashion_mnist import read_idx


def encode(array):
    header = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


IMAGES = np.arange(2 * 3 * 4).reshape(2, 3, 4)


@pytest.mark.parametrize("name", ["images", "images.gz"])
def test_round_trip(tmp_path, name):
    content = encode(IMAGES)
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    read = read_idx(tmp_path / name, dims=3)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, IMAGES)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (encode(IMAGES)[:-1], "header announces 24 bytes"),
        (encode(IMAGES) + b"x", "header announces 24 bytes, the file has more"),
        (encode(IMAGES[0]), "does not start as one of 3 dimension"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "header announces 79228162\\d* bytes, more than this file can contain"),
        (b"\0\0\x08\x03" + b"\0" * 12, "header announces 0 bytes"),
        (b"", "does not start as"),
    ],
)
def test_damaged(tmp_path, content, message, packed):
    file = tmp_path / ("images.gz" if packed else "images")
    file.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(ValueError, match=f"{file} is not a complete IDX file: .*{message}"):
        read_idx(file, dims=3)


def test_half_a_gzip_file(tmp_path):
    file = tmp_path / "images.gz"
    file.write_bytes(gzip.compress(encode(IMAGES))[:-9])
    with pytest.raises(ValueError, match="not a complete IDX file"):
        read_idx(file, dims=3)


STARTS = st.sampled_from([b"", b"\0\0\x08\x03", b"\0\0\x08\x01\0\0\0"])


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STARTS, st.binary(), st.booleans(), st.booleans())
@example(b"", b"\x1f\x8b\x08\0\0\0\0\0\0\0\xff", False, True)
def test_random_bytes_give_an_array_or_a_value_error(tmp_path, start, rest, packed, truly):
    file = tmp_path / ("random.gz" if packed else "random")
    file.write_bytes(gzip.compress(start + rest) if packed and truly else start + rest)
    for dims in (1, 3):
        try:
            assert read_idx(file, dims).ndim == dims
        except ValueError:
            pass
