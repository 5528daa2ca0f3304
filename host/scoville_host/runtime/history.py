"""KV pages of positions that no pass has computed, so that decoding in a long context can be measured at once."""

import numpy as np
from scoville.config import BLOCK, PAGE_TOKENS
from scoville.golden_memory import GoldenMemory
from scoville.golden_pages import KvPages
from scoville.isa import INSTRUCTION_BYTES, Opcode, decode

__all__ = ["fill_history"]

SPREAD = 40  # standard deviation of the codes: the largest of a block takes 7 bits, as the quantiser leaves it
EXPONENTS = {"k": (120, 123), "v": (118, 122)}  # biased by 127: keys of a few units, values of about one


def fill_history(image, memory, positions, seed=1):
    """Fill the keys and values of the first `positions` positions of every layer with random activation blocks.

    Parameters
    ----------
    image : `Image`
    memory : uint8, from address `image.base` on; changed in place
    positions : how many; what follows them in the last page stays zero
    seed : of the content, which is the same for every configuration
    """
    if not positions:
        return
    registers = image.registers
    chip = GoldenMemory(image.config, memory, base=image.base, kv_base=registers["KV_BASE"],
                        kv_pages=registers["KV_PAGES"], kv_page_bytes=registers["KV_PAGE_BYTES"])
    rng = np.random.default_rng(seed)
    for instruction in _attends(chip, registers["PROGRAM"]):
        chip.cache.store(instruction, _pages(rng, instruction["kv_heads"], instruction["head_blocks"], positions))


def _attends(chip, address):
    """The program's ATTEND instructions: one a layer."""
    while True:
        instruction = decode(chip.view(address, INSTRUCTION_BYTES).tobytes())
        if instruction["opcode"] is Opcode.END:
            return
        if instruction["opcode"] is Opcode.ATTEND:
            yield instruction
        address += INSTRUCTION_BYTES


def _pages(rng, heads, blocks, positions):
    count = -(-positions // PAGE_TOKENS)
    shape = (count, heads, blocks, PAGE_TOKENS)
    empty = np.arange(count * PAGE_TOKENS).reshape(count, 1, 1, PAGE_TOKENS) >= positions
    parts = {}
    for part, (low, high) in EXPONENTS.items():
        codes = np.clip(np.rint(rng.normal(0, SPREAD, (*shape, BLOCK))), -127, 127).astype(np.int8)
        codes[np.broadcast_to(empty, shape)] = 0
        parts[part] = codes
        parts[part + "_e8"] = np.where(empty, 0, rng.integers(low, high, shape)).astype(np.uint8)
    parts["v"] = np.ascontiguousarray(parts["v"].swapaxes(-1, -2))
    return KvPages(**parts)
