"""Where bytes go: the memory layouts of docs/design.md, as functions of numpy arrays."""

import numpy as np
from scoville.config import BLOCK, PAGE_TOKENS, TILE_ROWS

from ..checkpoint.formats import Blocks

__all__ = ["align", "head_blocks", "matrix_bytes", "pack_matrix", "page_bytes", "pair_rows", "unpack_matrix"]


def align(value, step):
    """The least multiple of `step` that is not below `value`."""
    return -(-value // step) * step


def head_blocks(head_dim):
    """Blocks of a padded head."""
    return -(-head_dim // BLOCK)


def page_bytes(config, blocks):
    """Bytes of a KV page: 32 tokens of one KV head whose head dimension takes `blocks` blocks."""
    return 2 * (align(PAGE_TOKENS * blocks, config.bus_bytes) + PAGE_TOKENS * BLOCK * blocks)


def pair_rows(heads, head_dim, layout, rotary=None):
    """Checkpoint rows of q or k in the chip's order: rotation pairs side by side, each head padded to whole blocks.

    Parameters
    ----------
    rotary : dimensions of a head that turn, its first; the others stay in order. None: all.
    layout : ``"half"`` or ``"interleaved"`` as in `Model.rope_layout`, or ``"plain"`` for v, whose rows stay in order.

    Returns
    -------
    int array ``[heads * padded head dimension]``; -1 marks padding.
    """
    order = np.arange(head_dim)
    if layout == "half":
        turning = order[:rotary]
        order = np.concatenate([turning.reshape(2, -1).T.reshape(-1), order[turning.size:]])
    head = np.full(head_blocks(head_dim) * BLOCK, -1)
    head[:head_dim] = order
    rows = head[None, :] + head_dim * np.arange(heads)[:, None]
    return np.where(head[None, :] < 0, -1, rows).reshape(-1)


def _groups(kblocks, config):
    return [(start, min(config.group, kblocks - start)) for start in range(0, kblocks, config.group)]


def _header_bytes(fmt, count, config):
    """Bytes of the scales and of the minimums in front of a group of `count` k-blocks."""
    return tuple(align(TILE_ROWS * count * size, config.bus_bytes) for size in (fmt.scale_bytes, fmt.minimum_bytes))


def matrix_bytes(fmt, tiles, kblocks, config):
    """Bytes of a matrix in memory, padding included."""
    codes = kblocks * TILE_ROWS * BLOCK * fmt.code_bits // 8
    return tiles * (codes + sum(sum(_header_bytes(fmt, count, config)) for _, count in _groups(kblocks, config)))


def pack_matrix(blocks, config):
    """The weight stream of a matrix, uint8; its rows must be a multiple of 32 and in the chip's order."""
    fmt = blocks.format
    rows, kblocks, _ = blocks.codes.shape
    if rows % TILE_ROWS:
        raise ValueError(f"{rows} rows are not whole tiles of {TILE_ROWS}")
    tiles = rows // TILE_ROWS

    def by_tile(array):
        return array.reshape(tiles, TILE_ROWS, kblocks, -1).swapaxes(1, 2)

    codes = blocks.codes.view(np.uint8)
    codes = by_tile(codes if fmt.code_bits == 8 else codes[:, :, 0::2] | codes[:, :, 1::2] << 4)
    headers = [by_tile(part) for part in (blocks.scales, blocks.minimums) if part is not None]
    parts = []
    for start, count in _groups(kblocks, config):
        for header in headers:
            data = np.ascontiguousarray(header[:, start:start + count]).reshape(tiles, -1).view(np.uint8)
            pad = align(data.shape[1], config.bus_bytes) - data.shape[1]
            parts.append(np.pad(data, ((0, 0), (0, pad))))
        parts.append(codes[:, start:start + count].reshape(tiles, -1))
    return np.concatenate(parts, axis=1).reshape(-1)


def unpack_matrix(data, fmt, tiles, kblocks, config):
    """The inverse of `pack_matrix`: `Blocks` with ``32 * tiles`` rows from a weight stream."""
    data = np.asarray(data, np.uint8).reshape(tiles, -1)
    code_bytes = BLOCK * fmt.code_bits // 8
    codes, scales, minimums = [], [], []
    position = 0
    for _, count in _groups(kblocks, config):
        scale_bytes, minimum_bytes = _header_bytes(fmt, count, config)
        kind = np.uint8 if fmt.scale_bytes == 1 else np.uint16
        for length, dtype, into in ((scale_bytes, kind, scales), (minimum_bytes, np.uint16, minimums)):
            if length:
                header = np.ascontiguousarray(data[:, position:position + length]).view(dtype)
                into.append(header[:, :count * TILE_ROWS].reshape(tiles, count, TILE_ROWS))
                position += length
        length = count * TILE_ROWS * code_bytes
        codes.append(data[:, position:position + length].reshape(tiles, count, TILE_ROWS, code_bytes))
        position += length

    def by_row(parts):
        whole = np.concatenate(parts, axis=1).swapaxes(1, 2)
        return np.ascontiguousarray(whole).reshape(tiles * TILE_ROWS, kblocks, *whole.shape[3:])

    packed = by_row(codes)
    if fmt.code_bits == 8:
        packed = packed.view(np.int8)
    else:
        packed = np.stack([packed & 15, packed >> 4], axis=3).reshape(*packed.shape[:2], BLOCK)
    return Blocks(format=fmt, codes=packed, scales=by_row(scales), minimums=by_row(minimums) if minimums else None)
