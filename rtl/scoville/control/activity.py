"""The trace port: what the chip does in a cycle, in one word, for a simulator or a logic analyser to record."""

from amaranth.lib import data

from scoville.control.monitor import REASON_BITS

__all__ = ["ACTIVITY", "activity_layout", "unpack"]

ACTIVITY = {
    "charged": REASON_BITS,  # what the cycle counts as: 0 work, 1 + the place in STALLS, 31 no sequence runs
    # Events, one cycle long.
    "begin": 1,  # a pass begins
    "forward": 1,  # the front end passes an instruction on
    "take": 1,  # the back end takes an instruction
    "task": 1,  # the array takes a task, of the instruction that the back end has
    "start": 1,  # the array begins a task; they begin in the order in which they were taken
    "loaded": 1,  # the vector unit has the last beat of a command
    "routed": 1,  # the last block of a quantiser's command goes to its place, other than probabilities
    "token": 1,  # the sampler gives a token
    "done": 1,  # END: the pass has ended
    # Levels, one for each unit.
    "waiting": 1,  # the back end, for the instructions before this one
    "kv_wait": 1,  # the front end, for KV writes
    "page_lookup": 1,
    "read": 1,  # reads are requested, in flight or buffered
    "beat": 1,  # a beat of the weight stream comes
    "decoder": 1,  # the decoder takes a beat
    "drain": 1,  # a row of results waits or leaves
    "softmax": 1,
    "chain": 1,
    "quantiser": 1,
    "router": 1,
    "kv_store": 1,
    "writer": 1,
    "sampler": 1,
    "dump": 1,
    "vectors": 1,
}
"""Members of the word, from its lowest bit on, and their widths. All are of one cycle, the one before the port's."""


def activity_layout():
    """Layout of the port."""
    return data.StructLayout(ACTIVITY)


def unpack(words):
    """The members of an array of words: dict of arrays."""
    found, at = {}, 0
    for name, width in ACTIVITY.items():
        found[name] = words >> at & (1 << width) - 1
        at += width
    return found
