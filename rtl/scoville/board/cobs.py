"""Consistent Overhead Byte Stuffing (Cheshire and Baker, 1999): frames without zeros, and a zero at their end."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from scoville.checks import check, check_stream
from scoville.naming import unnamed

__all__ = ["CobsDecoder", "CobsEncoder", "decoded_layout", "encoded_bytes"]

LONGEST = 254  # data bytes of a block


def encoded_bytes(count):
    """Most bytes that a frame of `count` bytes takes, with its delimiter."""
    return count + count // LONGEST + 2


decoded_layout = data.StructLayout({"data": 8, "end": 1, "broken": 1})
"""A byte of a frame or, with `end`, the frame's end; `broken`: the delimiter came in the middle of a block."""


class CobsDecoder(wiring.Component):
    """Frames from bytes. A zero ends a frame whatever came before, so that the next frame is found after any noise.

    Delimiters with nothing between them are dropped. Throughput: a byte a cycle. Latency: none.

    Members
    -------
    i : In(stream(8))
    o : Out(stream(decoded_layout))
    clear : In(1), forget the frame that has begun
    open : Out(1), a frame has begun and not ended
    """

    i: In(stream.Signature(8))
    o: Out(stream.Signature(decoded_layout))
    clear: In(1)
    open: Out(1)

    def elaborate(self, platform):
        m = Module()
        left = Signal(8)  # data bytes before the next code
        zero = Signal()  # a zero is due before the next block
        is_open = Signal()
        byte = self.i.payload
        delimiter = Signal()
        code = Signal()
        m.d.comb += [
            delimiter.eq(byte == 0),
            code.eq(~delimiter & (left == 0)),
            self.open.eq(is_open),
            self.o.p.data.eq(Mux(code, 0, byte)),
            self.o.p.end.eq(delimiter),
            self.o.p.broken.eq(left != 0),
            self.o.valid.eq(self.i.valid & Mux(delimiter, is_open, ~code | zero)),
            self.i.ready.eq(self.o.ready | ~self.o.valid),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += is_open.eq(~delimiter)
            with m.If(delimiter):
                m.d.sync += [left.eq(0), zero.eq(0)]
            with m.Elif(code):
                m.d.sync += [left.eq(byte - 1), zero.eq(byte != LONGEST + 1)]
            with m.Else():
                m.d.sync += left.eq(left - 1)
        with m.If(self.clear):
            m.d.sync += [left.eq(0), zero.eq(0), is_open.eq(0)]
        check_stream(m, self.o, "COBS decoder")
        check(m, is_open | ~(left.any() | zero), "COBS decoder: a block is inside a frame")
        return m


class CobsEncoder(wiring.Component):
    """Encodes a frame into a memory, where the code of a block can be filled in after the block.

    Throughput: a byte a cycle, and a cycle more after 254 bytes without a zero.

    Parameters
    ----------
    depth : of the memory

    Members
    -------
    start : In(1), begin a frame at `base`
    base : In
    i : In(stream({data, last})), the frame's bytes; taken from the cycle after `start`
    en, address, data : Out, to the memory's write port
    end : Out, the address after the delimiter, when `done`
    done : Out(1), the frame and its delimiter are in the memory
    """

    def __init__(self, depth):
        super().__init__({
            "start": In(1), "base": In(range(depth)),
            "i": In(stream.Signature(data.StructLayout({"data": 8, "last": 1}))),
            "en": Out(1), "address": Out(range(depth)), "data": Out(8),
            "end": Out(range(depth)), "done": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        code_at, at = unnamed(Signal.like(self.address), Signal.like(self.address))
        code = Signal(8)
        last = Signal()
        m.d.comb += self.end.eq(at)

        def close_block():
            m.d.comb += [self.en.eq(1), self.address.eq(code_at), self.data.eq(code)]
            m.d.sync += [code_at.eq(at), at.eq(at + 1), code.eq(1)]

        def restart():
            with m.If(self.start):
                m.d.sync += [code_at.eq(self.base), at.eq(self.base + 1), code.eq(1)]
                m.next = "DATA"

        # A start wins over whatever was going on: a reply that fails half-way is begun anew.
        with m.FSM():
            with m.State("DONE"):
                m.d.comb += self.done.eq(1)
                restart()
            with m.State("DATA"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += last.eq(self.i.p.last)
                with m.If(self.i.valid):
                    with m.If(self.i.p.data == 0):
                        close_block()
                    with m.Else():
                        m.d.comb += [self.en.eq(1), self.address.eq(at), self.data.eq(self.i.p.data)]
                        m.d.sync += [at.eq(at + 1), code.eq(code + 1)]
                    with m.If((self.i.p.data != 0) & (code == LONGEST)):
                        m.next = "FULL"
                    with m.Elif(self.i.p.last):
                        m.next = "CODE"
                restart()
            with m.State("FULL"):
                close_block()
                m.next = "DATA"
                with m.If(last):
                    m.next = "CODE"
                restart()
            with m.State("CODE"):
                m.d.comb += [self.en.eq(1), self.address.eq(code_at), self.data.eq(code)]
                m.next = "DELIMITER"
            with m.State("DELIMITER"):
                m.d.comb += [self.en.eq(1), self.address.eq(at)]
                m.d.sync += at.eq(at + 1)
                m.next = "DONE"

        check(m, self.done | code.any(), "COBS encoder: a code is no delimiter")
        return m
