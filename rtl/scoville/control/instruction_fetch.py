"""Instruction fetch: reads the program in chunks ahead of the front end."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from scoville.checks import check, check_stream
from scoville.isa import INSTRUCTION_BYTES

__all__ = ["InstructionFetch", "chunk_bytes", "instruction_layout"]

CHUNK = 4  # instructions a read


def chunk_bytes(config):
    """Bytes of a read of the program, which begins at a multiple of it."""
    return max(CHUNK * INSTRUCTION_BYTES, config.bus_bytes)


def instruction_layout(config):
    """An instruction and where it came from."""
    return data.StructLayout({"word": 8 * INSTRUCTION_BYTES, "address": config.addr_bits})


class InstructionFetch(wiring.Component):
    """Streams the instructions from `base` on, until it is told to stop.

    A chunk of four instructions is read at once and the next chunk when it is used up: the front end runs far enough
    ahead of the array to hide that latency. What was read behind the END is dropped, and so is a chunk that could not
    be read; then nothing comes until the next `start`. Within a chunk, one instruction a cycle.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    start : In(1), begin at `base`; it may come while a dropped read is still under way
    stop : In(1), END was seen: drop what is left. The only thing that withdraws an instruction already offered in `o`.
    base : In(addr_bits), aligned to a chunk
    request : Out(stream), {address, beats}
    response : In(stream), {data, error}
    o : Out(stream(instruction_layout))
    error : Out(1), a read failed (for one cycle), at `error_address`
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "start": In(1),
            "stop": In(1),
            "base": In(config.addr_bits),
            "request": Out(stream.Signature(data.StructLayout({"address": config.addr_bits, "beats": 8}))),
            "response": In(stream.Signature(data.StructLayout({"data": config.bus_bits, "error": 1}))),
            "o": Out(stream.Signature(instruction_layout(config))),
            "error": Out(1),
            "error_address": Out(config.addr_bits),
        })

    @staticmethod
    def model(memory, base, count):
        """(word, address) of the first `count` instructions from `base` on; `memory` is bytes."""
        return [(int.from_bytes(memory[at:at + INSTRUCTION_BYTES], "little"), at)
                for at in range(base, base + count * INSTRUCTION_BYTES, INSTRUCTION_BYTES)]

    def elaborate(self, platform):
        m = Module()
        config = self.config
        size = chunk_bytes(config)
        beats = size // config.bus_bytes
        instructions = size // INSTRUCTION_BYTES
        word_bits = 8 * INSTRUCTION_BYTES

        chunk = Signal(8 * size, reset_less=True)
        address = Signal(config.addr_bits)
        taken = Signal(range(instructions))
        beat = Signal(range(beats + 1))
        dropped = Signal()  # END came while a read was under way, or the read failed
        begin = Signal()  # `start` came before that read was over
        with m.If(self.start):
            m.d.sync += begin.eq(1)

        m.d.comb += [
            self.request.p.address.eq(address),
            self.request.p.beats.eq(beats),
            self.error_address.eq(address),
            self.o.p.word.eq(chunk[:word_bits]),
            self.o.p.address.eq(address + (taken << 5)),
        ]
        with m.FSM():
            with m.State("idle"), m.If(self.start | begin):
                m.d.sync += [address.eq(self.base), dropped.eq(0), begin.eq(0)]
                m.next = "request"
            with m.State("request"):
                m.d.comb += self.request.valid.eq(1)
                m.d.sync += [beat.eq(0), taken.eq(0)]
                with m.If(self.stop):
                    m.d.sync += dropped.eq(1)
                with m.If(self.request.ready):
                    m.next = "receive"
            with m.State("receive"):
                m.d.comb += self.response.ready.eq(1)
                with m.If(self.stop):
                    m.d.sync += dropped.eq(1)
                with m.If(self.response.valid):
                    shifted = (chunk >> config.bus_bits) if beats > 1 else 0
                    m.d.sync += [
                        chunk.eq(shifted | (self.response.p.data << (8 * size - config.bus_bits))),
                        beat.eq(beat + 1),
                    ]
                    with m.If(self.response.p.error & ~dropped):
                        m.d.comb += self.error.eq(1)
                        m.d.sync += dropped.eq(1)
                    with m.If(beat == beats - 1):
                        with m.If(dropped | self.stop | self.response.p.error):
                            m.next = "idle"
                        with m.Else():
                            m.next = "issue"
            with m.State("issue"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.sync += [chunk.eq(chunk >> word_bits), taken.eq(taken + 1)]
                    with m.If(taken == instructions - 1):
                        m.d.sync += address.eq(address + size)
                        m.next = "request"
                with m.If(self.stop):
                    m.next = "idle"
        assert size % config.bus_bytes == 0 and size % INSTRUCTION_BYTES == 0
        check(m, ~(self.start & begin), "instruction fetch: a pass begins when the one before has begun to be read")
        check_stream(m, self.request, "instruction fetch: request")
        return m
