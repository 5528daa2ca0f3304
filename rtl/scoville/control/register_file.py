"""The AXI4-Lite slave: settings out, status and counters in, all from the table in `scoville.registers`."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from scoville.checks import check
from scoville.memory import axi
from scoville.registers import LOCKED, REGISTERS, address_of, fits

__all__ = ["RegisterFile"]

WORD = 0xFFFFFFFF
INDEX_BITS = axi.LITE_ADDR_BITS - 2


def _by_index(m, index, values, default):
    """What `values`, a dict from register to constant, says for the register of this index."""
    found = Signal(max(value.bit_length() for value in (*values.values(), default)))
    m.d.comb += found.eq(default)
    groups = {}
    for register, value in values.items():
        groups.setdefault(value, []).append(register.address >> 2)
    with m.Switch(index):
        for value, indices in groups.items():
            with m.Case(*indices):
                m.d.comb += found.eq(value)
    return found


class RegisterFile(wiring.Component):
    """Registers on an AXI4-Lite bus, one read and one write at a time.

    A write takes effect in the cycle of its response, so a read that follows the response sees it and what comes of
    it; strobes are honoured byte by byte. An address outside the table reads as zero and ignores writes, with an OKAY
    response, as the AMBA specification allows for holes. Throughput: a write in three cycles, a read a cycle.

    A write that a register cannot hold (`registers.Bits`), or of a setting while `locked`, changes nothing. It is
    `refused`, and so are all writes of settings after it, until a soft reset is asked for. There is a flip-flop only
    for what can be held.

    ``rw`` registers are read from a copy in a small memory, as a multiplexer of them all is a knot of wires that
    nothing else needs. A reset clears it, for `DEPTH` cycles in which the bus waits. Reading a ``_LO`` of ``r`` holds
    its ``_HI``, so that both are of one moment, until another ``_LO`` is read.

    Parameters
    ----------
    config : ChipConfig; its widths say what the settings can hold, its slots which registers there are

    Members
    -------
    bus : In(axi.lite_signature())
    set_<name> : Out(32), the value of each ``rw`` register (lower-case name)
    get_<name> : In(32), what each ``r`` and ``pop`` register shows
    write_<name> : Out(32), for ``w`` and ``w1c`` registers: the bits written, for one cycle; zero otherwise
    rung_<name> : Out(1), high for one cycle when `set_<name>` of a ``bell`` register has been written
    pop_<name> : Out(1), high for one cycle when a ``pop`` register has been read
    locked : In(1), settings stand still; high from the cycle after the `write_control` that asks for it
    refused : Out(1), a write was refused, the first at `refused_address`
    """

    DEPTH = 64  # words of the copy

    def __init__(self, config):
        self.config = config
        self.registers = [register for register in REGISTERS if register.there(config)]
        members = {"bus": In(axi.lite_signature()), "locked": In(1), "refused": Out(1),
                   "refused_address": Out(axi.LITE_ADDR_BITS)}
        for register in self.registers:
            name = register.name.lower()
            if register.access in ("rw", "bell"):
                members[f"set_{name}"] = Out(32)
                if register.access == "bell":
                    members[f"rung_{name}"] = Out(1)
            else:
                members[f"get_{name}"] = In(32)
            if register.access in ("w", "w1c"):
                members[f"write_{name}"] = Out(32)
            if register.access == "pop":
                members[f"pop_{name}"] = Out(1)
        super().__init__(members)

    @staticmethod
    def model(config, name, before, value, strobes=15, *, locked=False):
        """What the register holds after a write of `value`, or None if the write is refused."""
        strobed = sum(255 << 8 * byte for byte in range(4) if strobes >> byte & 1)
        # Every limit is that of the lowest byte, so that the bits that are not written do not matter.
        if locked and name in LOCKED or not fits(config, name, value & strobed):
            return None
        return before & ~strobed | value & strobed

    def elaborate(self, platform):
        m = Module()
        bus = self.bus
        assert address_of(REGISTERS[-1].name) < 4 * self.DEPTH <= 1 << axi.LITE_ADDR_BITS
        # Not a block RAM: the output of one comes late, with `rdata`'s multiplexer behind it.
        m.submodules.copy = copy = memory.Memory(shape=32, depth=self.DEPTH, init=[],
                                                 attrs={"ram_style": "distributed"})
        cleared = Signal(range(self.DEPTH + 1))  # words of the copy, since a reset
        clear = cleared[-1]
        m.d.sync += cleared.eq(cleared + ~clear)
        done, index, value, strobes = self._write(m, clear)
        read, read_index = self._read(m, clear)

        settings = [register.address >> 2 for register in self.registers if register.access in ("rw", "bell")]
        copy_write = copy.write_port(granularity=8)
        copy_read = copy.read_port(transparent_for=(copy_write,))
        m.d.comb += [
            copy_write.addr.eq(Mux(clear, index, cleared)),
            copy_write.data.eq(Mux(clear, value, 0)),
            copy_write.en.eq(Mux(clear, Mux(done & (index < self.DEPTH), strobes, 0), 0b1111)),
            copy_read.addr.eq(bus.araddr[2:]), copy_read.en.eq(bus.arready),
        ]
        with m.If(read):
            m.d.sync += bus.rdata.eq(Mux(Cat(read_index == setting for setting in settings).any(), copy_read.data, 0))

        held, holder = Signal(32, reset_less=True), Signal(INDEX_BITS)  # the high word of the register behind `holder`
        for register in self.registers:
            name = register.name.lower()
            meant = Signal(name=f"is_write_{name}")
            m.d.comb += meant.eq(done & (index == register.address >> 2))
            if register.access == "bell":
                m.d.sync += getattr(self, f"rung_{name}").eq(meant)
            if register.access in ("rw", "bell"):
                setting, mask = getattr(self, f"set_{name}"), register.mask(self.config)
                with m.If(meant):
                    for byte in range(4):
                        with m.If(strobes[byte]):
                            m.d.sync += setting.word_select(byte, 8).eq(
                                value.word_select(byte, 8) & Const(mask >> 8 * byte & 255, 8))
                check(m, (setting & Const(WORD & ~mask, 32)) == 0, f"register_file: {register.name} holds what it can")
                continue
            if register.access in ("w", "w1c"):
                with m.If(meant):
                    for byte in range(4):
                        with m.If(strobes[byte]):
                            m.d.comb += getattr(self, f"write_{name}").word_select(byte, 8).eq(
                                value.word_select(byte, 8))
            with m.If(read & (read_index == register.address >> 2)):
                shown = getattr(self, f"get_{name}")
                m.d.sync += bus.rdata.eq(Mux(holder == read_index, held, shown) if register.shift else shown)
                if name.endswith("_lo"):
                    m.d.sync += [held.eq(getattr(self, f"get_{name[:-3]}_hi")), holder.eq((register.address >> 2) + 1)]
                if register.access == "pop":
                    m.d.comb += getattr(self, f"pop_{name}").eq(1)
        return m

    def _write(self, m, clear):
        """The write channels: whether a write is carried out in this cycle, and its index, value and strobes."""
        bus = self.bus
        # A write goes when address and data are both there, and the one before has been answered.
        write, judge, land = Signal(), Signal(), Signal()
        m.d.comb += [
            write.eq(bus.awvalid & bus.wvalid & ~judge & ~land & (~bus.bvalid | bus.bready) & clear),
            bus.awready.eq(write),
            bus.wready.eq(write),
            bus.bresp.eq(axi.Resp.OKAY),
        ]
        m.d.sync += [judge.eq(write), land.eq(judge)]
        with m.If(bus.bready):
            m.d.sync += bus.bvalid.eq(0)
        with m.If(land):
            m.d.sync += bus.bvalid.eq(1)
        # It is judged from registers, and carried out from registers, as settings lie all over the chip.
        index, value, strobes = (Signal(bits, reset_less=True) for bits in (INDEX_BITS, 32, 4))
        with m.If(write):
            m.d.sync += [index.eq(bus.awaddr[2:]), value.eq(bus.wdata), strobes.eq(bus.wstrb)]

        judged = [register for register in self.registers if register.access in ("rw", "bell", "w")]
        unusable = {register: WORD & ~register.mask(self.config) for register in judged}
        limits = {register: register.bits.most for register in judged if register.bits.most is not None}
        assert all(limit < 256 for limit in limits.values()), "a limit is that of the lowest byte"
        strobed = value & Cat(strobe.replicate(8) for strobe in strobes)
        refuse, done, refusal = Signal(reset_less=True), Signal(), Signal()
        kept, kept_address = Signal(), Signal(axi.LITE_ADDR_BITS, reset_less=True)
        m.d.sync += refuse.eq(
            (strobed & _by_index(m, index, unusable, 0)).any()
            | (strobed[:8] > _by_index(m, index, limits, 255))
            | (self.locked | kept)
            & _by_index(m, index, {register: 1 for register in judged if register.name in LOCKED}, 0))
        m.d.comb += [
            done.eq(land & ~refuse), refusal.eq(land & refuse),
            self.refused.eq(kept | refusal), self.refused_address.eq(Mux(kept, kept_address, index << 2)),
        ]
        m.d.sync += [kept.eq(self.refused & ~self.write_control[1]), kept_address.eq(self.refused_address)]

        waits = Signal()
        m.d.sync += waits.eq(bus.bvalid & ~bus.bready)
        check(m, ~waits | bus.bvalid, "register_file: a write's response stays")
        check(m, judge + land + (bus.bvalid & ~bus.bready) <= 1, "register_file: one write at a time")
        return done, index, value, strobes

    def _read(self, m, clear):
        """The read channels: whether a read's data is chosen in this cycle, and its index."""
        bus = self.bus
        # A read's address is registered, as the choice of its data takes long.
        asked, move, read, index = Signal(), Signal(), Signal(), Signal(INDEX_BITS, reset_less=True)
        m.d.comb += [
            move.eq(~bus.rvalid | bus.rready),
            read.eq(asked & move),
            bus.arready.eq((~asked | move) & clear),
            bus.rresp.eq(axi.Resp.OKAY),
        ]
        with m.If(bus.arready):
            m.d.sync += [asked.eq(bus.arvalid), index.eq(bus.araddr[2:])]
        with m.If(move):
            m.d.sync += bus.rvalid.eq(asked)

        waits, shown = Signal(), Signal(32, reset_less=True)
        m.d.sync += [waits.eq(bus.rvalid & ~bus.rready), shown.eq(bus.rdata)]
        check(m, ~waits | bus.rvalid & (bus.rdata == shown), "register_file: what is read stays until it is taken")
        return read, index
