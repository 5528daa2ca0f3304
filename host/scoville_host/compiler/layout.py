"""Where bytes go: the memory layouts of docs/design.md, as functions of numpy arrays."""

import numpy as np
from scoville.config import BLOCK, PAGE_TOKENS, SUPER_BLOCKS, TILE_ROWS
from scoville.numerics.formats import high_values, six_bits

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


def _pieces(fmt, kblocks, config):
    """What a tile is made of, in order: (name of the part of `Blocks`, k-blocks, bytes in the stream).

    k-blocks are a slice; of what a super-block has once, that of its super-blocks.
    """
    pieces = []

    def piece(name, start, count, size):
        pieces.append((name, slice(start, start + count), TILE_ROWS * size))

    for start in range(0, kblocks, config.group):
        count = min(config.group, kblocks - start)
        if fmt.two_level:
            if start % SUPER_BLOCKS == 0:
                piece("scales", start // SUPER_BLOCKS, 1, 2)
                piece("integers", start, SUPER_BLOCKS, fmt.integer_bytes)
                piece("minimums", start // SUPER_BLOCKS, 1, fmt.minimum_bytes)
        else:
            piece("scales", start, count, count * fmt.scale_bytes)
            piece("minimums", start, count, count * fmt.minimum_bytes)
        piece("high", start, count, count * fmt.high_bytes)
        piece("codes", start, count, count * fmt.code_bytes)
    return [(name, part, size) for name, part, size in pieces if size]


def matrix_bytes(fmt, tiles, kblocks, config):
    """Bytes of a matrix in memory, padding included."""
    return tiles * sum(align(size, config.bus_bytes) for _, _, size in _pieces(fmt, kblocks, config))


def pack_matrix(blocks, config):
    """The weight stream of a matrix, uint8; its rows must be a multiple of 32 and in the chip's order."""
    fmt = blocks.format
    rows, kblocks, _ = blocks.codes.shape
    if rows % TILE_ROWS:
        raise ValueError(f"{rows} rows are not whole tiles of {TILE_ROWS}")
    tiles = rows // TILE_ROWS
    parts = blocks.parts | {"high": blocks.codes}
    by_tile = {name: part.reshape(tiles, TILE_ROWS, part.shape[1], -1).swapaxes(1, 2) for name, part in parts.items()}
    stream = []
    for name, part, size in _pieces(fmt, kblocks, config):
        here = np.ascontiguousarray(by_tile[name][:, part])
        if name == "codes":
            data = _low_codes(fmt, here)
        elif name == "high":
            data = _high_codes(fmt, here)
        elif name == "integers" and fmt.minimum:
            data = _six_bits(here[..., 0].reshape(tiles, -1), by_tile["minimum_integers"][:, part].reshape(tiles, -1))
        else:
            data = here.view(np.uint8)
        data = data.reshape(tiles, size)
        stream.append(np.pad(data, ((0, 0), (0, align(size, config.bus_bytes) - size))))
    return np.concatenate(stream, axis=1).reshape(-1)


def _low_codes(fmt, codes):
    """Bytes of 8-bit codes, or of two codes' low 4 bits each."""
    if fmt.code_bits == 8:
        return codes.view(np.uint8)
    return codes[..., 0::2] & 15 | codes[..., 1::2] << 4


def _high_codes(fmt, codes):
    """Bytes of the bits above a code's low 4, code by code."""
    bits = [codes >> 4 + bit & 1 for bit in range(fmt.high_bits)]
    return np.packbits(np.stack(bits, axis=-1).reshape(len(codes), -1), axis=1, bitorder="little")


def _six_bits(scale, minimum):
    """Integers of scales and minimums: bytes of their low nibbles, then nibbles of their high bits."""
    scale = scale.view(np.uint8)
    high = scale >> 4 | minimum >> 4 << 2
    return np.concatenate([scale & 15 | minimum << 4, high[:, 0::2] | high[:, 1::2] << 4], axis=1)


def unpack_matrix(data, fmt, tiles, kblocks, config):
    """The inverse of `pack_matrix`: `Blocks` with ``32 * tiles`` rows from a weight stream."""
    data, position = np.asarray(data, np.uint8).reshape(tiles, -1), 0
    found = {"codes": [], "high": [], "scales": [], "minimums": [], "integers": [], "minimum_integers": []}
    for name, part, size in _pieces(fmt, kblocks, config):
        raw, count = np.ascontiguousarray(data[:, position:position + size]), part.stop - part.start
        position += align(size, config.bus_bytes)
        shape = tiles, count, TILE_ROWS
        if name == "codes":
            raw = raw.view(np.int8) if fmt.code_bits == 8 else np.stack([raw & 15, raw >> 4], axis=2)
            found[name].append(raw.reshape(*shape, BLOCK))
        elif name == "high":
            found[name].append(high_values(raw, fmt.high_bits).view(np.uint8).reshape(*shape, BLOCK))
        elif name == "integers" and fmt.minimum:
            scale, least = (part.reshape(shape) for part in six_bits(raw))
            found[name].append(np.stack([scale, scale], axis=3))
            found["minimum_integers"].append(least.view(np.uint8))
        elif name == "integers":
            found[name].append(raw.view(np.int8).reshape(*shape, 2))
        else:
            kind = np.uint8 if name == "scales" and fmt.scale_bytes == 1 else np.uint16
            found[name].append(raw.view(kind).reshape(shape))

    def by_row(parts):
        whole = np.concatenate(parts, axis=1).swapaxes(1, 2)
        return np.ascontiguousarray(whole).reshape(tiles * TILE_ROWS, *whole.shape[2:])

    found = {name: by_row(parts) for name, parts in found.items() if parts}
    if "high" in found:
        found["codes"] = found["codes"] | found.pop("high")
    return Blocks(format=fmt, **found)
