"""Memory layouts: round trips, and bytes counted by hand from docs/design.md."""

from dataclasses import replace

import numpy as np
import pytest
from scoville.config import get_config
from scoville_host.checkpoint.formats import FORMATS, quantise
from scoville_host.compiler.layout import head_blocks, matrix_bytes, pack_matrix, page_bytes, pair_rows, unpack_matrix


@pytest.mark.parametrize("bus", [8, 16, 32, 64, 128, 256])
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("tiles, kblocks", [(1, 1), (2, 3), (1, 9), (3, 8)])
def test_round_trip(bus, name, tiles, kblocks):
    config = replace(get_config("nano"), bus_bytes=bus, rows=1)
    values = np.random.default_rng(bus).standard_normal((32 * tiles, 32 * kblocks)).astype(np.float32)
    blocks = quantise(values, FORMATS[name])
    data = pack_matrix(blocks, config)
    assert len(data) == matrix_bytes(blocks.format, tiles, kblocks, config)
    assert len(data) % bus == 0
    found = unpack_matrix(data, blocks.format, tiles, kblocks, config)
    assert np.array_equal(found.codes, blocks.codes)
    assert np.array_equal(found.scales, blocks.scales)
    assert (found.minimums is None) == (blocks.minimums is None)
    if blocks.minimums is not None:
        assert np.array_equal(found.minimums, blocks.minimums)


def test_bytes_of_a_group_by_hand():
    """64-byte bus: groups of two k-blocks; three k-blocks make a group of two and one of one."""
    config = get_config("kria")
    values = np.random.default_rng(0).standard_normal((32, 96)).astype(np.float32)
    blocks = quantise(values, FORMATS["q4_1"])
    data = pack_matrix(blocks, config)
    assert len(data) == (128 + 128 + 1024) + (64 + 64 + 512)
    row, kblock, pair = 5, 1, 7
    assert data[2 * (32 * kblock + row):][:2].view(np.uint16)[0] == blocks.scales[row, kblock]
    assert data[128 + 2 * (32 * kblock + row):][:2].view(np.uint16)[0] == blocks.minimums[row, kblock]
    byte = data[256 + 512 * kblock + 16 * row + pair]
    assert byte & 15 == blocks.codes[row, kblock, 2 * pair]
    assert byte >> 4 == blocks.codes[row, kblock, 2 * pair + 1]


def test_odd_rows_are_refused():
    with pytest.raises(ValueError, match="whole tiles"):
        pack_matrix(quantise(np.zeros((33, 32), np.float32), FORMATS["mxint8"]), get_config("nano"))


def test_pair_rows_put_rotation_pairs_side_by_side():
    assert pair_rows(1, 8, "half").tolist()[:8] == [0, 4, 1, 5, 2, 6, 3, 7]
    assert pair_rows(1, 8, "interleaved").tolist()[:8] == list(range(8))
    rows = pair_rows(2, 24, "half")
    assert rows.shape == (64,)
    assert (rows[24:32] == -1).all() and (rows[56:] == -1).all()
    assert rows[32:36].tolist() == [24, 36, 25, 37]


def test_page_bytes():
    assert page_bytes(get_config("nano"), head_blocks(64)) == 2 * (64 + 2048)
    assert page_bytes(get_config("kria"), head_blocks(32)) == 2 * (64 + 1024)
