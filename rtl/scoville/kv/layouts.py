"""What the KV-cache controller is asked and answers, and how its parts name places, pages and lengths."""

from amaranth.hdl import Shape
from amaranth.lib import data, enum
from amaranth.utils import exact_log2

from scoville.config import PAGE_TOKENS

__all__ = ["TENANT_BITS", "Op", "answer_layout", "command_layout", "lengths_layout", "page_count", "page_layout",
           "page_shape", "place_layout", "token_shape"]

TENANT_BITS = 32  # as in a request


class Op(enum.Enum, shape=3):
    """The operations of `scoville.kv.model.KvModel`, by name."""

    OPEN = 0
    FORK = 1
    RESERVE = 2
    MISSING = 3
    COMMIT = 4
    LEAVE = 5
    RELEASE = 6


def page_shape(config):
    """A page's number in the pool."""
    return exact_log2(config.pool_pages)


def page_count(config):
    """A number of pages of the pool."""
    return Shape.cast(range(config.pool_pages + 1))


def token_shape(config):
    """A number of tokens of a slot, up to twice what its table holds, and not including it."""
    return exact_log2(2 * PAGE_TOKENS * config.slot_pages)


def place_layout(config):
    """An entry of a page table."""
    return data.StructLayout({"index": exact_log2(config.slot_pages), "group": exact_log2(config.cache_groups),
                              "slot": exact_log2(config.slots)})


def page_layout(config):
    """Which page is at a place. With `fault` set there is none, and `page` means nothing."""
    return data.StructLayout({"page": page_shape(config), "fault": 1})


def lengths_layout(config):
    """Of an open slot's tables: entries, the same in every group; how many are full, from 0 on; how many of each group
    a window has given back, from 0 on: ``gone <= full <= length``."""
    entries = range(config.slot_pages + 1)
    return data.StructLayout({"length": entries, "full": entries,
                              "gone": data.ArrayLayout(entries, config.cache_groups)})


def command_layout(config):
    """An operation. `amount` is its tokens (RESERVE, MISSING, COMMIT, LEAVE: the window's first) or entries (FORK)."""
    return data.StructLayout({"op": Op, "slot": exact_log2(config.slots), "parent": exact_log2(config.slots),
                              "group": exact_log2(config.cache_groups), "tenant": TENANT_BITS,
                              "amount": token_shape(config)})


def answer_layout(config):
    """Whether it was done; MISSING is if the slot is open. `pages`: how many RESERVE would take, of MISSING, and of a
    RESERVE of an open slot that was not done."""
    return data.StructLayout({"ok": 1, "pages": range(2 * config.slot_pages * config.cache_groups + 1)})
