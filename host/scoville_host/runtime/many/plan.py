"""Where the things of many sequences lie: behind an image's own bytes, the pool of pages, two rings, and a heap."""

from dataclasses import dataclass, field, replace

import numpy as np
from scoville.config import ChipConfig
from scoville.kv.model import pages_of
from scoville.registers import fits
from scoville.schedule.records import COMPLETION_BYTES, MAX_STOPS, NO_SLOT, REQUEST_BYTES

from ...compiler.image import Image
from ...compiler.layout import align
from ...errors import RequestError
from .heap import STEP

__all__ = ["Plan", "page_bytes", "plan_memory"]

ENTRIES = 64  # of each ring


def page_bytes(image):
    """Bytes of a page of all layers and KV heads: the image's own pool has them for its context."""
    return image.regions["kv_pool"].size // pages_of(image.context)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What `plan_memory` makes.

    Members
    -------
    image : Image
    config : ChipConfig, the image's with so many slots and pages
    pages : of the pool
    rows : whether logits are kept: a row for each token that is sampled
    registers : values that the driver writes before the start
    heap : (address, bytes) of what requests' buffers are taken from
    size : bytes of memory from `image.base` on
    """

    image: Image
    config: ChipConfig
    pages: int
    rows: bool
    registers: dict = field(repr=False)
    heap: tuple
    size: int

    @property
    def row_bytes(self):
        """From one row of logits to the next."""
        return align(4 * self.image.vocab, STEP) if self.rows else 0

    def buffer_bytes(self, room, stops):
        """Bytes for a request: rows of logits, `room` tokens, `stops` stop tokens."""
        return room * self.row_bytes + 4 * (room + stops)

    def allocate(self):
        """The memory before the start, uint8; index 0 is address `image.base`. RequestError if there is not so much."""
        try:
            memory = np.zeros(self.size, np.uint8)
        except MemoryError:
            raise RequestError(f"{self.config.slots} slots and {self.pages} pages need {self.size:,} bytes of memory "
                               "(see --slots and --pool-pages)") from None
        memory[:len(self.image.memory)] = self.image.memory
        return memory


def plan_memory(image, *, slots=None, pages=None, running=None, rows=False, entries=ENTRIES):
    """Lay out memory for an image and so many sequences.

    Parameters
    ----------
    slots : sequences that live in the chip; None: as many as its configuration has
    pages : of the pool, 32 tokens each; None: enough for every slot to be full
    running : the register RUNNING; None: as many as there are seats, so that each that decodes has one in every pass
    rows : whether logits are kept
    entries : of each ring

    Raises
    ------
    RequestError
        If the chip could not have so many, or has not one sequence's pages.
    """
    slots = image.config.slots if slots is None else slots
    full = pages_of(image.context)
    if slots > NO_SLOT:
        raise RequestError(f"slots is {slots}; at most {NO_SLOT // 2 + 1} have numbers")
    pages = max(slots, 1) * full if pages is None else pages
    if pages < full:
        raise RequestError(f"the pool has {pages} pages; a sequence of {image.context} tokens needs {full} "
                           "(see --pool-pages and --context)")
    try:
        config = replace(image.config, slots=slots, pool_pages=_power(pages), slot_pages=_power(full))
    except ValueError as error:
        raise RequestError(str(error)) from None
    end = align(image.base + len(image.memory), STEP)

    def place(size, step=STEP):
        nonlocal end
        address = align(end, step)
        end = address + align(size, STEP)
        return address

    registers = {name: image.registers[name] for name in ("PROGRAM", "CONTEXT", "WINDOW_BASE")} | {
        "KV_BASE": place(pages * page_bytes(image), 4096), "KV_PAGES": pages, "KV_PAGE_BYTES": page_bytes(image),
        "VOCAB": image.vocab, "RUNNING": min(slots, config.seats) if running is None else running,
        "SUBMIT_BASE": place(entries * REQUEST_BYTES), "SUBMIT_ENTRIES": entries,
        "COMPLETE_BASE": place(entries * COMPLETION_BYTES), "COMPLETE_ENTRIES": entries}
    plan = Plan(image=image, config=config, pages=pages, rows=rows, registers=registers, heap=(end, 0), size=0)
    heap = slots * align(plan.buffer_bytes(image.context + 1, MAX_STOPS), STEP)
    registers["WINDOW_LIMIT"] = limit = align(end + heap, 4096)
    for name in ("KV_PAGES", "KV_PAGE_BYTES", "WINDOW_LIMIT"):
        if not fits(config, name, registers[name]):
            raise RequestError(f"{slots} slots and {pages} pages need {registers[name]:#x} in register {name}; a chip "
                               f"of configuration {config.name} cannot hold it (see --slots and --pool-pages)")
    return replace(plan, heap=(end, heap), size=limit - image.base)


def _power(number):
    """The least power of two that is not below a number."""
    return 1 << max(number - 1, 0).bit_length()
