"""Serial line, 8 data bits, no parity, one stop bit: a receiver that votes, and a transmitter without gaps."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from scoville.checks import check, check_stream

__all__ = ["MIN_DIVISOR", "UartReceiver", "UartTransmitter"]

MIN_DIVISOR = 4  # clocks a bit: three samples have to fit
BITS = 10  # start, eight data bits, stop


def _check(divisor):
    if divisor < MIN_DIVISOR:
        raise ValueError(f"{divisor} clocks a bit; it must be at least {MIN_DIVISOR}: lower the baud rate")


class UartReceiver(wiring.Component):
    """Bytes from a serial line; every bit is the majority of three samples about its middle.

    A start bit that the majority denies is noise and is dropped without a word. A byte whose stop bit is low is dropped
    with `error`, and the next start is looked for once the line has been high.

    Throughput: a byte in ``10 * divisor`` clocks, back to back. It may be 2 % fast or slow at divisors from 16 on.

    Parameters
    ----------
    divisor : clocks a bit, at least `MIN_DIVISOR`

    Members
    -------
    rx : In(1), the line, asynchronous; high when idle
    o : Out(stream(8)), holds one byte
    error : Out(1), for one clock: a byte was lost, by its stop bit or because `o` was not taken in time
    """

    def __init__(self, divisor):
        _check(divisor)
        self.divisor = divisor
        super().__init__({"rx": In(1, init=1), "o": Out(stream.Signature(8)), "error": Out(1)})

    def elaborate(self, platform):
        m = Module()
        line = Signal(init=1)
        m.submodules.synchroniser = FFSynchronizer(self.rx, line, init=1)
        middle, spacing = self.divisor // 2, max(1, self.divisor // 8)

        clocks = Signal(range(self.divisor))
        index = Signal(range(BITS))
        first, second = Signal(), Signal()
        byte = Signal(8)
        vote = Signal()
        m.d.comb += vote.eq((first & second) | (second & line) | (first & line))
        with m.If(clocks == middle - spacing):
            m.d.sync += first.eq(line)
        with m.If(clocks == middle):
            m.d.sync += second.eq(line)
        with m.If(clocks == self.divisor - 1):
            m.d.sync += [clocks.eq(0), index.eq(index + 1)]
        with m.Else():
            m.d.sync += clocks.eq(clocks + 1)
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)

        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [clocks.eq(1), index.eq(0)]
                with m.If(~line):
                    m.next = "BITS"
            with m.State("BITS"), m.If(clocks == middle + spacing):
                with m.If(index == 0), m.If(vote):
                    m.next = "IDLE"
                with m.Elif(index != BITS - 1):
                    m.d.sync += byte.eq(Cat(byte[1:], vote))
                with m.Elif(vote):
                    # Half a bit early: a transmitter that is a little fast may already begin the next byte.
                    m.next = "IDLE"
                    m.d.comb += self.error.eq(self.o.valid & ~self.o.ready)
                    with m.If(~self.error):
                        m.d.sync += [self.o.payload.eq(byte), self.o.valid.eq(1)]
                with m.Else():
                    m.d.comb += self.error.eq(1)
                    m.next = "BREAK"
            with m.State("BREAK"), m.If(line):
                m.next = "IDLE"
        check(m, clocks < self.divisor, "UART receiver: a bit has so many clocks")
        check_stream(m, self.o, "UART receiver")
        return m


class UartTransmitter(wiring.Component):
    """Bytes onto a serial line.

    Throughput: a byte in ``10 * divisor`` clocks, back to back, if the next byte comes within that time.

    Parameters
    ----------
    divisor : clocks a bit, at least `MIN_DIVISOR`

    Members
    -------
    i : In(stream(8)); one byte waits while another is sent
    tx : Out(1), the line, a register; high when idle
    """

    def __init__(self, divisor):
        _check(divisor)
        self.divisor = divisor
        super().__init__({"i": In(stream.Signature(8)), "tx": Out(1, init=1)})

    def elaborate(self, platform):
        m = Module()
        waiting, full = Signal(8), Signal()
        bits = Signal(BITS - 1, init=(1 << (BITS - 1)) - 1)
        clocks = Signal(range(self.divisor))
        left = Signal(range(BITS + 1))  # bits to go, with the one on the line
        m.d.comb += self.i.ready.eq(~full)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [waiting.eq(self.i.payload), full.eq(1)]
        end = Signal()
        m.d.comb += end.eq(clocks == self.divisor - 1)
        with m.If(left == 0):
            m.d.sync += clocks.eq(0)
        with m.Else():
            m.d.sync += clocks.eq(clocks + 1)
            with m.If(end):
                m.d.sync += [clocks.eq(0), left.eq(left - 1), self.tx.eq(bits[0]), bits.eq(Cat(bits[1:], 1))]
        with m.If(full & ((left == 0) | end & (left == 1))):
            m.d.sync += [full.eq(0), self.tx.eq(0), bits.eq(Cat(waiting, 1)), left.eq(BITS), clocks.eq(0)]
        check(m, left.any() | self.tx, "UART transmitter: an idle line is high")
        check(m, ~(self.i.valid & self.i.ready & full), "UART transmitter: a byte that waits is not lost")
        return m
