"""The drain: finished tiles leave the accumulators a row group at a time and go on row by row."""

from amaranth.hdl import Array, Module, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

__all__ = ["SLOTS", "Drain", "drain_row", "drain_write"]

SLOTS = 2  # tiles: one may be read while the next is written


def drain_row(config):
    """Layout of an output row: its number in the tile, the task's tag, and one FP32 value a lane."""
    return data.StructLayout({"row": 5, "tag": 1, "values": data.ArrayLayout(32, config.lanes)})


def drain_write(config):
    """Layout of a finished row group: the task's tag, and FP32 values by row, then lane."""
    return data.StructLayout({
        "tag": 1,
        "values": data.ArrayLayout(data.ArrayLayout(32, config.lanes), config.rows),
    })


class Drain(wiring.Component):
    """Room for two tiles of results: row groups in, rows out.

    A tile is reserved before its results are under way, so the pipeline that computes them never stops. Row groups of
    a tile come in order, tiles in the order of their reservation. Throughput: a row group in and a row out a cycle.
    Latency: two cycles from a row group to its first row. A tile's room is free when its last row has left.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    reserve : In(1), take room for one tile; only while `available`
    available : Out(1)
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
        """Rows of `tiles` (float32 [tiles, 32, T]) in the order in which they leave: [(row, values)]."""
        return [(row, values) for tile in tiles for row, values in enumerate(tile)]

    def elaborate(self, platform):
        m = Module()
        depth = SLOTS * self.config.interleave
        row_bits = exact_log2(self.config.rows)
        m.submodules.groups = groups = memory.Memory(shape=drain_write(self.config), depth=depth, init=[])
        write, read = groups.write_port(), groups.read_port(domain="comb")

        # One bit more than the address tells a full memory from an empty one.
        written = Signal(range(2 * depth))
        row = Signal(5 + exact_log2(SLOTS) + 1)
        group = row[row_bits:]
        m.d.comb += [
            write.addr.eq(written[:-1]),
            write.data.eq(self.write.payload),
            write.en.eq(self.write.valid),
            self.write.ready.eq(1),
            read.addr.eq(group[:-1]),
        ]
        with m.If(self.write.valid):
            m.d.sync += written.eq(written + 1)

        move = Signal()
        last = Signal(reset_less=True)  # the row in the output register is its tile's last
        m.d.comb += move.eq((written != group) & (self.o.ready | ~self.o.valid))
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(move):
            rows = Array(read.data["values"][r] for r in range(self.config.rows))
            m.d.sync += [
                row.eq(row + 1),
                self.o.valid.eq(1),
                self.o.p.row.eq(row[:5]),
                self.o.p.tag.eq(read.data["tag"]),
                self.o.p["values"].eq(rows[row[:row_bits]] if row_bits else rows[0]),
                last.eq(row[:5].all()),
            ]

        reserved = Signal(range(SLOTS + 1))
        m.d.comb += [self.available.eq(reserved != SLOTS), self.busy.eq(reserved != 0)]
        m.d.sync += reserved.eq(reserved + self.reserve - (self.o.valid & self.o.ready & last))
        return m
