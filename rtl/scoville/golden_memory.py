"""The golden model's side of the memory: weight streams, KV pages and page tables, read as the chip reads them."""

from dataclasses import dataclass

import numpy as np

from .config import BLOCK, PAGE_TOKENS, TILE_ROWS
from .golden_linear import Weights
from .isa import ScaleFormat
from .numerics import block

__all__ = ["GoldenMemory", "KvPages", "OutsideMemory", "PageFault", "unpack_weights"]


def _align(value, step):
    return -(-value // step) * step


def unpack_weights(data, instruction, table, config):
    """Decode a weight stream (docs/design.md, memory layouts).

    Parameters
    ----------
    data : uint8, the whole matrix
    instruction : fields of a LINEAR instruction
    table : int8 ``[16]``, the values of 4-bit codes
    config : ChipConfig; the stream depends on ``bus_bytes`` only
    """
    kblocks, bits8 = instruction["kblocks"], instruction["code_bits8"]
    scale_bytes = {ScaleFormat.NONE: 0, ScaleFormat.E8M0: 1, ScaleFormat.FP16: 2}[instruction["scale_format"]]
    data = data.reshape(instruction["tiles"], -1)
    rows = TILE_ROWS * instruction["tiles"]
    codes = np.empty((kblocks, rows, BLOCK), np.float32)
    scales = np.empty((kblocks, rows), np.float32) if scale_bytes else None
    minimums = np.empty((kblocks, rows), np.float32) if instruction["minimum"] else None
    position = 0

    def take(size):
        nonlocal position
        part = np.ascontiguousarray(data[:, position:position + size])
        position += _align(size, config.bus_bytes)
        return part

    def by_kblock(part):
        return np.moveaxis(part.reshape(len(part), count, TILE_ROWS, -1), 1, 0).reshape(count, rows, -1)

    for first in range(0, kblocks, config.group):
        count = min(config.group, kblocks - first)
        here = slice(first, first + count)
        for header, size in ((scales, scale_bytes), (minimums, 2)):
            if header is not None:
                raw = take(size * count * TILE_ROWS)
                values = block.model.scale_e8m0(raw) if size == 1 else block.model.scale_fp16(raw.view(np.uint16))
                header[here] = by_kblock(values)[..., 0]
        packed = by_kblock(take(count * TILE_ROWS * (BLOCK if bits8 else BLOCK // 2)))
        if bits8:
            codes[here] = packed.view(np.int8)
        else:
            codes[here, :, 0::2] = table[packed & 15]
            codes[here, :, 1::2] = table[packed >> 4]
    if position != data.shape[1]:
        raise ValueError(f"tiles of matrix at {instruction['address']:#x} have {data.shape[1]} bytes, not {position}")
    step = 0
    if instruction["scale_format"] == ScaleFormat.FP16 or minimums is not None:
        step = -24
    if instruction["scale_format"] == ScaleFormat.E8M0 and scales.any():
        step = min(step, int(np.frexp(scales[scales > 0].min())[1]) - 1)
    return Weights(codes, scales, minimums, step)


@dataclass(frozen=True, eq=False)
class KvPages:
    """Pages of each KV head: exponents uint8 ``[pages, heads, B, 32]``, codes int8 ``[pages, heads, B, 32, 32]``.

    Axes of the codes: K (..., block, token, dimension), V (..., block, dimension, token).
    """

    k_e8: np.ndarray
    k: np.ndarray
    v_e8: np.ndarray
    v: np.ndarray


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
        layout = ("address", "beats", "tiles", "kblocks", "code_bits8", "scale_format", "minimum")
        key = (*(instruction[name] for name in layout), b"" if instruction["code_bits8"] else table.tobytes())
        if key not in self._weights:
            data = self.view(instruction["address"], instruction["beats"] * self.config.bus_bytes)
            self._weights[key] = unpack_weights(data, instruction, table, self.config)
        return self._weights[key]

    def page_numbers(self, instruction, heads, page):
        """Physical pages of entry `page` for each KV head of a layer: int64 ``[heads]``.

        Raises
        ------
        PageFault
            If one is not mapped, or the table cannot be read.
        """
        first = instruction["table"] + 4 * page
        try:
            entries = [self.view(first + head * instruction["table_stride"], 4) for head in range(heads)]
        except OutsideMemory as error:
            raise PageFault(str(error)) from error
        numbers = np.stack(entries).view(np.uint32).reshape(-1).astype(np.int64)
        if (numbers >= self.kv_pages).any():
            raise PageFault(f"page {page} of the table at {instruction['table']:#x} is not mapped")
        return numbers

    def _parts(self, blocks):
        """Slices of a page: K exponents, K codes, V exponents, V codes."""
        header, codes = _align(PAGE_TOKENS * blocks, self.config.bus_bytes), PAGE_TOKENS * BLOCK * blocks
        half = header + codes
        return (slice(0, PAGE_TOKENS * blocks), slice(header, half),
                slice(half, half + PAGE_TOKENS * blocks), slice(half + header, 2 * half))

    def _part(self, number, part):
        """Bytes of a part of a page."""
        return self.view(self.kv_base + int(number) * self.kv_page_bytes + part.start, part.stop - part.start)

    def _gather(self, numbers, part):
        """That part of many pages, uint8 ``[*numbers.shape, bytes]``."""
        return np.stack([self._part(number, part) for number in numbers.flat]).reshape(*numbers.shape, -1)

    def pages(self, instruction, count):
        """The first `count` pages of every KV head, for an ATTEND instruction, as `KvPages`."""
        heads, blocks = instruction["kv_heads"], instruction["head_blocks"]
        numbers = np.stack([self.page_numbers(instruction, heads, page) for page in range(count)])
        k_e8, k, v_e8, v = (self._gather(numbers, part) for part in self._parts(blocks))
        shape = (count, heads, blocks)
        return KvPages(k_e8.reshape(*shape, PAGE_TOKENS), k.view(np.int8).reshape(*shape, PAGE_TOKENS, BLOCK),
                       v_e8.reshape(*shape, PAGE_TOKENS), v.view(np.int8).reshape(*shape, BLOCK, PAGE_TOKENS))

    def store(self, instruction, pages):
        """Write `KvPages` over the first pages of every KV head: the inverse of `pages`."""
        count, heads, blocks = pages.k_e8.shape[:3]
        numbers = np.stack([self.page_numbers(instruction, heads, page) for page in range(count)])
        for part, values in zip(self._parts(blocks), (pages.k_e8, pages.k, pages.v_e8, pages.v), strict=True):
            for number, content in zip(numbers.flat, values.view(np.uint8).reshape(count * heads, -1), strict=True):
                self._part(number, part)[...] = content

    def append(self, instruction, position, codes, e8, *, value):
        """Write one token's K (or, with `value`, V) of every KV head.

        Parameters
        ----------
        codes : int8 ``[heads, B, 32]``
        e8 : exponent bytes, uint8 ``[heads, B]``
        """
        page, token = divmod(position, PAGE_TOKENS)
        heads, blocks = e8.shape
        parts = self._parts(blocks)[2:] if value else self._parts(blocks)[:2]
        for head, number in enumerate(self.page_numbers(instruction, heads, page)):
            exponents, values = (self._part(number, part) for part in parts)
            exponents.reshape(blocks, PAGE_TOKENS)[:, token] = e8[head]
            values = values.reshape(blocks, PAGE_TOKENS, BLOCK)
            (values[:, :, token] if value else values[:, token])[...] = codes[head].view(np.uint8)


class OutsideMemory(ValueError):
    """An access that is not wholly in the window."""


class PageFault(Exception):
    """A KV page that the page table does not map."""
