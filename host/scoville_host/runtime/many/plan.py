"""Where the things of many sequences lie: behind an image's own bytes, the pool of pages, two rings, and a heap."""

from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
from scoville.config import ChipConfig
from scoville.kv.model import pages_of
from scoville.schedule.records import COMPLETION_BYTES, MAX_STOPS, REQUEST_BYTES

from ...compiler.image import Image
from ...compiler.layout import align
from ...errors import RequestError
from .heap import STEP

__all__ = ["Plan", "plan_memory"]

ENTRIES = 64  # of each ring


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What `plan_memory` makes.

    Members
    -------
    image : Image
    config : ChipConfig, the image's
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

    @contextmanager
    def enough(self):
        """Where the memory is made: RequestError if there is not so much."""
        try:
            yield
        except MemoryError:
            raise RequestError(f"{self.config.slots} slots and {self.pages} pages need {self.size:,} bytes of memory "
                               "(see --slots and --pool-pages)") from None

    def allocate(self):
        """The memory before the start, uint8; index 0 is address `image.base`. RequestError if there is not so much."""
        with self.enough():
            memory = np.zeros(self.size, np.uint8)
        memory[:len(self.image.memory)] = self.image.memory
        return memory


def plan_memory(image, *, pages=None, running=None, rows=False, entries=ENTRIES):
    """Lay out memory for an image and as many sequences as its configuration has slots.

    Parameters
    ----------
    pages : of the pool, 32 tokens each; None: enough for every slot to be full, or as many as the chip has
    running : the register RUNNING; None: as many as there are seats, so that each that decodes has one in every pass
    rows : whether logits are kept
    entries : of each ring

    Raises
    ------
    RequestError
        If the pool has more pages than the chip, or less than one sequence may need.
    """
    config, full = image.config, pages_of(image.context)
    pages = min(config.slots * full, config.pool_pages) if pages is None else pages
    if not full <= pages <= config.pool_pages:
        raise RequestError(f"the pool has {pages} pages; it must be {full}, for a sequence of {image.context} tokens, "
                           f"to {config.pool_pages} (see --pool-pages and --context)")
    end = align(image.base + len(image.memory), STEP)

    def place(size, step=STEP):
        nonlocal end
        address = align(end, step)
        end = address + align(size, STEP)
        return address

    registers = {name: image.registers[name] for name in ("PROGRAM", "CONTEXT", "WINDOW_BASE", "KV_PAGE_BYTES")} | {
        "KV_BASE": place(pages * image.registers["KV_PAGE_BYTES"], 4096), "KV_PAGES": pages,
        "VOCAB": image.vocab, "RUNNING": min(config.slots, config.seats) if running is None else running,
        "SUBMIT_BASE": place(entries * REQUEST_BYTES), "SUBMIT_ENTRIES": entries,
        "COMPLETE_BASE": place(entries * COMPLETION_BYTES), "COMPLETE_ENTRIES": entries}
    plan = Plan(image=image, config=config, pages=pages, rows=rows, registers=registers, heap=(end, 0), size=0)
    heap = config.slots * align(plan.buffer_bytes(image.context + 1, MAX_STOPS), STEP)
    registers["WINDOW_LIMIT"] = limit = align(end + heap, 4096)
    if limit >> config.addr_bits:
        raise RequestError(f"{config.slots} slots and {pages} pages need addresses up to {limit:#x}; configuration "
                           f"{config.name} has {config.addr_bits} address bits (see --slots and --pool-pages)")
    return replace(plan, heap=(end, heap), size=limit - image.base)
