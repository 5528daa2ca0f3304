"""The drain: finished tiles leave the accumulators a row group at a time and go on row by row."""

from amaranth.hdl import Array, Cat, Module, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from scoville.checks import check, check_stream
from scoville.naming import unnamed

__all__ = ["SLOTS", "Drain", "drain_row", "drain_write"]

SLOTS = 2  # tiles: one may be read while the next is written


def drain_row(config):
    """Layout of an output row: its number in the tile, its phase, the task's tag, and one FP32 value a lane."""
    return data.StructLayout({
        "row": 5, "phase": range(config.phases), "tag": 1, "values": data.ArrayLayout(32, config.lanes)})


def drain_write(config):
    """Layout of a finished row group: the task's tag, its phase, whether it is the tile's last, and FP32 values by row,
    then lane."""
    return data.StructLayout({
        "tag": 1,
        "phase": range(config.phases),
        "last": 1,
        "values": data.ArrayLayout(data.ArrayLayout(32, config.lanes), config.rows),
    })


class Drain(wiring.Component):
    """Room for two tiles of results: row groups in, rows out.

    A tile is reserved before its results are under way, so the pipeline that computes them never stops. Row groups of
    a tile come in order, each for all phases of the tile, and tiles in the order of their reservation. The 32 rows of
    a phase leave together, so that they make a block. Throughput: a row group in and a row out a cycle.
    Latency: two cycles from a row group to its first row. A tile's room is free when its last row has left.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    reserve : In(1), take room for one tile; only in a cycle after one in which it was `available`
    available : Out(1), room for a tile, from the next cycle on
    write : In(stream(drain_write)), always ready
    o : Out(stream(drain_row))
    busy : Out(1), some tile is reserved
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "reserve": In(1),
            "available": Out(1),
            "write": In(stream.Signature(drain_write(config))),
            "o": Out(stream.Signature(drain_row(config))),
            "busy": Out(1),
        })

    @staticmethod
    def model(tiles):
        """Rows of `tiles` (a list of float32 [phases, 32, T]) in the order in which they leave: [(row, values)]."""
        return [(row, values) for tile in tiles for phase in tile for row, values in enumerate(phase)]

    def elaborate(self, platform):
        m = Module()
        config = self.config
        row_bits = exact_log2(config.rows)
        depth = SLOTS * config.phases * config.interleave
        m.submodules.groups = groups = memory.Memory(shape=drain_write(config), depth=depth, init=[])
        write, read = unnamed(groups.write_port(), groups.read_port(domain="comb"))

        # Where a group is: its number, its turn (phases count from the tile's first), the tile's slot.
        place = data.StructLayout({
            "group": range(config.interleave), "turn": range(config.phases), "slot": range(SLOTS)})
        into = Signal(place)
        written = Array(Signal(range(config.interleave + 1), name=f"written{n}") for n in range(SLOTS * config.phases))
        m.d.comb += [
            write.addr.eq(into.as_value()),
            write.data.eq(self.write.payload),
            write.en.eq(self.write.valid),
            self.write.ready.eq(1),
        ]
        with m.If(self.write.valid):
            m.d.sync += [written[Cat(into.turn, into.slot)].eq(into.group + 1), into.turn.eq(into.turn + 1)]
            with m.If(self.write.p.last):
                m.d.sync += [into.turn.eq(0), into.group.eq(into.group + 1)]
                with m.If(into.group == config.interleave - 1):
                    m.d.sync += into.slot.eq(into.slot + 1)

        row, turn, slot = Signal(5), Signal(range(config.phases)), Signal(range(SLOTS))
        group = row[row_bits:]
        move = Signal()
        last = Signal(reset_less=True)  # the row in the output register is its tile's last
        m.d.comb += [
            read.addr.eq(Cat(group, turn, slot)),
            move.eq((written[Cat(turn, slot)] > group) & (self.o.ready | ~self.o.valid)),
        ]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(move):
            rows = Array(read.data["values"][r] for r in range(config.rows))
            m.d.sync += [
                row.eq(row + 1),
                self.o.valid.eq(1),
                self.o.p.row.eq(row),
                self.o.p.phase.eq(read.data["phase"]),
                self.o.p.tag.eq(read.data["tag"]),
                self.o.p["values"].eq(rows[row[:row_bits]] if row_bits else rows[0]),
                last.eq(row.all() & read.data["last"]),
            ]
            with m.If(row.all()):
                # The slot is reserved anew only when this row has left, so nothing is written to it now.
                m.d.sync += [written[Cat(turn, slot)].eq(0), turn.eq(turn + 1)]
                with m.If(read.data["last"]):
                    m.d.sync += [turn.eq(0), slot.eq(slot + 1)]

        reserved = Signal(range(SLOTS + 1))
        m.d.comb += [self.available.eq(reserved + self.reserve < SLOTS), self.busy.eq(reserved != 0)]
        leaves = self.o.valid & self.o.ready & last
        m.d.sync += reserved.eq(reserved + self.reserve - leaves)

        check(m, ~self.reserve | (reserved < SLOTS), "drain: only free room is reserved")
        check(m, ~(self.write.valid | leaves) | self.busy, "drain: what comes and leaves has room reserved")
        check(m, ~self.write.valid | (written[Cat(into.turn, into.slot)] == into.group),
              "drain: row groups come in order, to a slot that has been emptied")
        check_stream(m, self.o, "drain: o")
        return m
