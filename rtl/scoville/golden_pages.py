"""The golden model's KV cache: keys and values of a sequence in pages, wherever those lie."""

from dataclasses import dataclass

import numpy as np

from .config import BLOCK, PAGE_TOKENS

__all__ = ["KvPages", "PageFault", "PagedCache", "align"]


def align(value, step):
    """The next multiple of `step`."""
    return -(-value // step) * step


@dataclass(frozen=True, eq=False)
class KvPages:
    """Pages of each KV head: exponents uint8 ``[pages, heads, B, 32]``, codes int8 ``[pages, heads, B, 32, 32]``.

    Axes of the codes: K (..., block, token, dimension), V (..., block, dimension, token).
    """

    k_e8: np.ndarray
    k: np.ndarray
    v_e8: np.ndarray
    v: np.ndarray


class PagedCache:
    """Keys and values of one sequence.

    Parameters
    ----------
    memory : GoldenMemory
    page : function (cache group, number of a page in the sequence, whether it is written) -> the page, or None where
        there is none
    """

    def __init__(self, memory, page):
        self.memory, self.page = memory, page

    def addresses(self, instruction, number, write):
        """Where the parts of each KV head begin, int ``[heads]``.

        Raises
        ------
        PageFault
        """
        page = self.page(instruction["cache"], number, write)
        if page is None:
            raise PageFault(f"the sequence has no page {number} to {'write' if write else 'read'}")
        first = self.memory.kv_base + page * self.memory.kv_page_bytes + instruction["offset"]
        return first + np.arange(instruction["kv_heads"]) * instruction["stride"]

    def _parts(self, blocks):
        """Slices of a head's bytes: K exponents, K codes, V exponents, V codes."""
        header, codes = align(PAGE_TOKENS * blocks, self.memory.config.bus_bytes), PAGE_TOKENS * BLOCK * blocks
        half = header + codes
        return (slice(0, PAGE_TOKENS * blocks), slice(header, half),
                slice(half, half + PAGE_TOKENS * blocks), slice(half + header, 2 * half))

    def _part(self, address, part):
        return self.memory.view(int(address) + part.start, part.stop - part.start)

    def _gather(self, addresses, part):
        """That part at many addresses, uint8 ``[*addresses.shape, bytes]``."""
        return np.stack([self._part(address, part) for address in addresses.flat]).reshape(*addresses.shape, -1)

    def pages(self, instruction, count):
        """The first `count` pages of every KV head, for an ATTEND instruction, as `KvPages`."""
        blocks = instruction["head_blocks"]
        addresses = np.stack([self.addresses(instruction, page, False) for page in range(count)])
        k_e8, k, v_e8, v = (self._gather(addresses, part) for part in self._parts(blocks))
        shape = (*addresses.shape, blocks)
        return KvPages(k_e8.reshape(*shape, PAGE_TOKENS), k.view(np.int8).reshape(*shape, PAGE_TOKENS, BLOCK),
                       v_e8.reshape(*shape, PAGE_TOKENS), v.view(np.int8).reshape(*shape, BLOCK, PAGE_TOKENS))

    def store(self, instruction, pages):
        """Write `KvPages` over the first pages of every KV head: the inverse of `pages`."""
        count, heads, blocks = pages.k_e8.shape[:3]
        addresses = np.stack([self.addresses(instruction, page, True) for page in range(count)])
        for part, values in zip(self._parts(blocks), (pages.k_e8, pages.k, pages.v_e8, pages.v), strict=True):
            for address, content in zip(addresses.flat, values.view(np.uint8).reshape(count * heads, -1), strict=True):
                self._part(address, part)[...] = content

    def append(self, instruction, position, codes, e8, *, value):
        """Write one token's K (or, with `value`, V) of every KV head.

        Parameters
        ----------
        codes : int8 ``[heads, B, 32]``
        e8 : exponent bytes, uint8 ``[heads, B]``
        """
        page, token = divmod(position, PAGE_TOKENS)
        blocks = e8.shape[1]
        parts = self._parts(blocks)[2:] if value else self._parts(blocks)[:2]
        for head, address in enumerate(self.addresses(instruction, page, True)):
            exponents, values = (self._part(address, part) for part in parts)
            exponents.reshape(blocks, PAGE_TOKENS)[:, token] = e8[head]
            values = values.reshape(blocks, PAGE_TOKENS, BLOCK)
            (values[:, :, token] if value else values[:, token])[...] = codes[head].view(np.uint8)


class PageFault(Exception):
    """A KV page that the sequence does not have."""
