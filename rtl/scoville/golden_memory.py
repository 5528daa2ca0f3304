"""The golden model's side of the memory: weight streams and KV pages, read as the chip reads them."""

import numpy as np

from .config import BLOCK, SUPER_BLOCKS, TILE_ROWS
from .golden_linear import Weights
from .golden_pages import PagedCache, align
from .isa import ScaleFormat
from .kv.one import OneSlot
from .numerics import block
from .numerics.formats import high_values, six_bits

__all__ = ["GoldenMemory", "OutsideMemory", "unpack_weights"]


def unpack_weights(data, instruction, table, config):
    """Decode a weight stream (docs/design.md, memory layouts).

    Parameters
    ----------
    data : uint8, the whole matrix
    instruction : fields of a LINEAR instruction
    table : int8 ``[16]``, the values of 4-bit codes
    config : ChipConfig; the stream depends on ``bus_bytes`` only
    """
    kblocks, bits8, high_bits = instruction["kblocks"], instruction["code_bits8"], instruction["high_bits"]
    two_level = instruction["scale_format"] == ScaleFormat.TWO_LEVEL
    scale_bytes = {ScaleFormat.NONE: 0, ScaleFormat.E8M0: 1}.get(instruction["scale_format"], 2)
    data = data.reshape(instruction["tiles"], -1)
    rows = TILE_ROWS * instruction["tiles"]
    codes = np.empty((kblocks, rows, BLOCK), np.float32)
    scales = np.empty((kblocks, rows), np.float32) if scale_bytes else None
    minimums = np.empty((kblocks, rows), np.float32) if instruction["minimum"] else None
    position = 0

    def take(size):
        nonlocal position
        part = np.ascontiguousarray(data[:, position:position + size])
        position += align(size, config.bus_bytes)
        return part

    def by_kblock(part):
        return np.moveaxis(part.reshape(len(part), count, TILE_ROWS, -1), 1, 0).reshape(count, rows, -1)

    halves = np.ones((kblocks, rows, 2), np.int8) if two_level else None
    for first in range(0, kblocks, config.group):
        if two_level and first % SUPER_BLOCKS == 0:
            count, here = SUPER_BLOCKS, slice(first, first + SUPER_BLOCKS)
            scales[here] = block.model.scale_fp16(take(2 * TILE_ROWS).view(np.uint16)).reshape(-1)
            raw = take(TILE_ROWS * SUPER_BLOCKS * (12 if instruction["minimum"] else 16) // 8)
            if not instruction["minimum"]:
                halves[here] = by_kblock(raw.view(np.int8))
            else:  # of whole blocks: they go with the scale, exactly
                scale, least = (by_kblock(part)[..., 0] for part in six_bits(raw))
                scales[here] *= scale
                minimums[here] = block.model.scale_fp16(take(2 * TILE_ROWS).view(np.uint16)).reshape(-1)
                minimums[here] *= least
        count = min(config.group, kblocks - first)
        here = slice(first, first + count)
        for header, size in () if two_level else ((scales, scale_bytes), (minimums, 2)):
            if header is not None:
                raw = take(size * count * TILE_ROWS)
                values = block.model.scale_e8m0(raw) if size == 1 else block.model.scale_fp16(raw.view(np.uint16))
                header[here] = by_kblock(values)[..., 0]
        above = np.int8(0)
        if high_bits:
            above = by_kblock(high_values(take(count * TILE_ROWS * BLOCK * high_bits // 8), high_bits))
        packed = by_kblock(take(count * TILE_ROWS * (BLOCK if bits8 else BLOCK // 2)))
        if bits8:
            codes[here] = packed.view(np.int8)
        else:
            values = np.stack([table[packed & 15], table[packed >> 4]], axis=3).reshape(count, rows, BLOCK)
            codes[here] = values + above  # int8 all the way: a table may be such that it wraps
    if position != data.shape[1]:
        raise ValueError(f"tiles of matrix at {instruction['address']:#x} have {data.shape[1]} bytes, not {position}")
    if two_level and not instruction["minimum"]:
        codes = codes * halves.repeat(BLOCK // 2, axis=2).astype(np.float64)
    step = 0
    if scale_bytes == 2 or minimums is not None:
        step = -24
    if instruction["scale_format"] == ScaleFormat.E8M0 and scales.any():
        step = min(step, int(np.frexp(scales[scales > 0].min())[1]) - 1)
    return Weights(codes, scales, minimums, step)


class GoldenMemory:
    """Bytes at addresses, and what the chip takes them for.

    Parameters
    ----------
    config : ChipConfig
    data : uint8 array, changed in place by KV writes
    base : address of ``data[0]``
    kv_base, kv_pages, kv_page_bytes : the pool of KV pages, as the registers of the same names
    window : (first address, the one behind the last) that may be accessed; all of the memory by default
    """

    def __init__(self, config, data, *, base=0, kv_base, kv_pages, kv_page_bytes, window=None):
        self.config, self.data, self.base = config, data, base
        self.kv_base, self.kv_pages, self.kv_page_bytes = kv_base, kv_pages, kv_page_bytes
        first, behind = window or (base, base + len(data))
        self.window = max(first, base), min(behind, base + len(data))
        self._weights = {}

    @property
    def kv_pool(self):
        """The pages, uint8 ``[kv_pages, kv_page_bytes]``, without a copy."""
        return self.view(self.kv_base, self.kv_pages * self.kv_page_bytes).reshape(self.kv_pages, self.kv_page_bytes)

    def view(self, address, size):
        """`size` bytes at an address, without a copy.

        Raises
        ------
        OutsideMemory
            If they are not all in the window.
        """
        start = address - self.base
        if address < self.window[0] or address + size > self.window[1]:
            raise OutsideMemory(f"{size} bytes at {address:#x} are outside the window")
        return self.data[start:start + size]

    def floats(self, address, count):
        """`count` FP32 values."""
        return np.frombuffer(self.view(address, 4 * count).tobytes(), np.float32)

    def weights(self, instruction, table):
        """The matrix of a LINEAR instruction; decoded once, then from the cache."""
        layout = ("address", "beats", "tiles", "kblocks", "code_bits8", "high_bits", "scale_format", "minimum")
        key = (*(instruction[name] for name in layout), b"" if instruction["code_bits8"] else table.tobytes())
        if key not in self._weights:
            data = self.view(instruction["address"], instruction["beats"] * self.config.bus_bytes)
            self._weights[key] = unpack_weights(data, instruction, table, self.config)
        return self._weights[key]

    @property
    def cache(self):
        """The cache of the only sequence of a chip of one slot."""
        return PagedCache(self, lambda group, number, write: OneSlot.model(self.config, number, self.kv_pages))


class OutsideMemory(ValueError):
    """An access that is not wholly in the window."""
