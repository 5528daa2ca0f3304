"""The AXI4-Lite slave: settings out, status and counters in, all from the table in `scoville.registers`."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from scoville.memory import axi
from scoville.registers import REGISTERS, address_of

__all__ = ["RegisterFile"]


class RegisterFile(wiring.Component):
    """Registers on an AXI4-Lite bus, one read and one write at a time.

    A write takes effect in the first cycle of its response; strobes are honoured byte by byte. An address outside the
    table reads as zero and ignores writes, with an OKAY response, as the AMBA specification allows for holes.

    ``rw`` registers are read from a copy in a small memory, as a multiplexer of them all is a knot of wires that
    nothing else needs. A reset clears it, for `DEPTH` cycles in which the bus waits.

    Parameters
    ----------
    config : ChipConfig (unused sizes are not read; the map is the same for every chip)

    Members
    -------
    bus : In(axi.lite_signature())
    set_<name> : Out(32), the value of each ``rw`` register (lower-case name)
    get_<name> : In(32), what each ``r`` and ``pop`` register shows
    write_<name> : Out(32), for ``w`` and ``w1c`` registers: the bits written, for one cycle; zero otherwise
    pop_<name> : Out(1), high for one cycle when a ``pop`` register has been read
    """

    DEPTH = 64  # words of the copy

    def __init__(self, config):
        self.config = config
        members = {"bus": In(axi.lite_signature())}
        for register in REGISTERS:
            name = register.name.lower()
            if register.access == "rw":
                members[f"set_{name}"] = Out(32)
            else:
                members[f"get_{name}"] = In(32)
            if register.access in ("w", "w1c"):
                members[f"write_{name}"] = Out(32)
            if register.access == "pop":
                members[f"pop_{name}"] = Out(1)
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        bus = self.bus
        index_bits = (axi.LITE_ADDR_BITS - 2)
        assert address_of(REGISTERS[-1].name) < 4 * self.DEPTH <= 1 << axi.LITE_ADDR_BITS
        # Not a block RAM: the output of one comes late, with `rdata`'s multiplexer behind it.
        m.submodules.copy = copy = memory.Memory(shape=32, depth=self.DEPTH, init=[],
                                                 attrs={"ram_style": "distributed"})
        cleared = Signal(range(self.DEPTH + 1))  # words of the copy, since a reset
        clear = cleared[-1]
        m.d.sync += cleared.eq(cleared + ~clear)

        # A write goes when address and data are both there and the last response has been taken.
        write = Signal()
        m.d.comb += [
            write.eq(bus.awvalid & bus.wvalid & (~bus.bvalid | bus.bready) & clear),
            bus.awready.eq(write),
            bus.wready.eq(write),
            bus.bresp.eq(axi.Resp.OKAY),
        ]
        with m.If(bus.bready):
            m.d.sync += bus.bvalid.eq(0)
        with m.If(write):
            m.d.sync += bus.bvalid.eq(1)
        # It is carried out from registers, as settings lie all over the chip.
        written, index = Signal(), Signal(index_bits, reset_less=True)
        value, strobes = Signal(32, reset_less=True), Signal(4, reset_less=True)
        m.d.sync += [written.eq(write), index.eq(bus.awaddr[2:2 + index_bits]), value.eq(bus.wdata),
                     strobes.eq(bus.wstrb)]

        # A read's address is registered, as the choice of its data takes long.
        asked, move, read, read_index = Signal(), Signal(), Signal(), Signal(index_bits, reset_less=True)
        m.d.comb += [
            move.eq(~bus.rvalid | bus.rready),
            read.eq(asked & move),
            bus.arready.eq((~asked | move) & clear),
            bus.rresp.eq(axi.Resp.OKAY),
        ]
        with m.If(bus.arready):
            m.d.sync += [asked.eq(bus.arvalid), read_index.eq(bus.araddr[2:2 + index_bits])]
        with m.If(move):
            m.d.sync += bus.rvalid.eq(asked)

        settings = [register.address >> 2 for register in REGISTERS if register.access == "rw"]
        copy_write = copy.write_port(granularity=8)
        copy_read = copy.read_port(transparent_for=(copy_write,))
        m.d.comb += [
            copy_write.addr.eq(Mux(clear, index, cleared)),
            copy_write.data.eq(Mux(clear, value, 0)),
            copy_write.en.eq(Mux(clear, Mux(written & (index < self.DEPTH), strobes, 0), 0b1111)),
            copy_read.addr.eq(bus.araddr[2:]), copy_read.en.eq(bus.arready),
        ]
        with m.If(read):
            m.d.sync += bus.rdata.eq(Mux(Cat(read_index == setting for setting in settings).any(), copy_read.data, 0))

        for register in REGISTERS:
            name = register.name.lower()
            meant = Signal(name=f"is_write_{name}")
            m.d.comb += meant.eq(written & (index == register.address >> 2))
            if register.access == "rw":
                setting = getattr(self, f"set_{name}")
                with m.If(meant):
                    for byte in range(4):
                        with m.If(strobes[byte]):
                            m.d.sync += setting.word_select(byte, 8).eq(value.word_select(byte, 8))
                continue
            if register.access in ("w", "w1c"):
                with m.If(meant):
                    for byte in range(4):
                        with m.If(strobes[byte]):
                            m.d.comb += getattr(self, f"write_{name}").word_select(byte, 8).eq(
                                value.word_select(byte, 8))
            with m.If(read & (read_index == register.address >> 2)):
                m.d.sync += bus.rdata.eq(getattr(self, f"get_{name}"))
                if register.access == "pop":
                    m.d.comb += getattr(self, f"pop_{name}").eq(1)
        return m
