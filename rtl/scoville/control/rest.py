"""Whether the datapath rests: what the back end waits for before it goes on, and before a pass ends."""

from amaranth.hdl import Cat, Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["QUEUED", "RESULTS", "Rest"]

OPERANDS = ("decoder", "vectors", "chain", "quantiser", "softmax")
RESULTS = ("kv", "sampler", "dump")
QUEUED = (*OPERANDS, "kv", "sampler")
"""Units that take their commands from a queue."""
WORKING = ("array", "vectors", "chain", "quantiser", "softmax", "router")


class Rest(wiring.Component):
    """What is at rest. All of it is combinational.

    Members
    -------
    empty : In, one bit for each of `QUEUED`: no command waits in its queue
    busy : In, one bit for each unit that says so: it has something under way
    sampled : In(1), the sampler is busy with nothing but a token that has not been taken
    written : In(1), every write has its response
    quiet : Out(1), no command or datum is anywhere between the decoder and the operand buffer. The decoder has no
        `busy`: it has nothing for units that rest.
    settled : Out(1), no result is on its way to the cache, the sampler or the memory
    """

    empty: In(data.StructLayout(dict.fromkeys(QUEUED, 1)))
    busy: In(data.StructLayout(dict.fromkeys((*WORKING, *RESULTS), 1)))
    sampled: In(1)
    written: In(1)
    quiet: Out(1)
    settled: Out(1)

    @staticmethod
    def model(empty, busy, sampled, written):
        """(quiet, settled); `empty` and `busy` are dicts."""
        quiet = all(empty[name] for name in OPERANDS) and not any(busy[name] for name in WORKING)
        working = {name: busy[name] for name in RESULTS} | {"sampler": busy["sampler"] and not sampled}
        return quiet, empty["kv"] and empty["sampler"] and not any(working.values()) and bool(written)

    def elaborate(self, platform):
        m = Module()
        empty, busy = self.empty, self.busy
        m.d.comb += [
            self.quiet.eq(Cat(empty[name] for name in OPERANDS).all() & ~Cat(busy[name] for name in WORKING).any()),
            self.settled.eq(empty.kv & empty.sampler & ~busy.kv & ~busy.dump & (~busy.sampler | self.sampled)
                            & self.written),
        ]
        return m
