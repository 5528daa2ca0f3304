"""The weight decoder: beats of the memory stream become blocks of codes with their scales."""

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from scoville.checks import check, check_stream
from scoville.config import BLOCK, TILE_ROWS
from scoville.control.queue import Queue
from scoville.isa import ScaleFormat
from scoville.numerics import block
from scoville.numerics.block import Scale
from scoville.slices import StreamSlice
from scoville.weights.walk import Phase, WeightCommand, WeightKind, slot_beats, walk

__all__ = ["WeightDecoder", "weight_block"]


def weight_block(config):
    """Layout of an item: for R rows, 32 codes (row-major), a scale and a minimum."""
    return data.StructLayout({
        "codes": data.ArrayLayout(signed(8), config.rows * BLOCK),
        "scale": data.ArrayLayout(Scale, config.rows),
        "minimum": data.ArrayLayout(Scale, config.rows),
        "has_minimum": 1,
    })


def select(word, index, width):
    """Part `index` (modulo the number of parts) of a word cut into parts of `width` bits."""
    parts = len(word) // width
    return word.word_select(index[:exact_log2(parts)], width) if parts > 1 else word


class WeightDecoder(wiring.Component):
    """Cuts the weight stream into headers and codes, and joins each row group's codes with its scales.

    An item holds R rows of one k-block of one tile; items come k-block by k-block, row group by row group, in the order
    of the beats (memory layouts: docs/design.md). 4-bit codes go through the code table, 8-bit codes pass.

    Throughput: a beat a cycle while the outputs are ready and a beat carries no more than an item; else an item a
    cycle. Headers cost their beats and nothing else: they are double-buffered, so they come while items wait in the
    queue before `o`, which also keeps the array's readiness out of the walk over beats.
    Latency: `LATENCY` cycles from an item's last beat to `o`.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    command : In(stream(WeightCommand)), taken one command ahead of its first beat, at most one in two cycles
    i : In(stream(bus_bits)), beats
    vector : Out(stream(bus_bits)), the beats of VECTOR
    exponents : Out(stream(bus_bits)), V's exponent bytes, from the end of KEY
    o : Out(stream(weight_block))
    table_en, table_data : In, write the code table: 16 signed bytes, code 0 lowest; codes wait 16 cycles for it
    waiting : Out(1), could take a beat, and there is none
    header : Out(1), takes a beat that is not codes
    """

    LATENCY = 4
    ITEMS = 4  # in the queue

    def __init__(self, config):
        if config.bus_bytes < 2 * config.rows:
            raise ValueError(f"bus_bytes is {config.bus_bytes}; it must hold a row group's FP16 scales, "
                             f"{2 * config.rows} bytes")
        self.config = config
        bus = stream.Signature(config.bus_bits)
        super().__init__({
            "command": In(stream.Signature(WeightCommand)),
            "i": In(bus),
            "vector": Out(bus),
            "exponents": Out(bus),
            "o": Out(stream.Signature(weight_block(config))),
            "table_en": In(1),
            "table_data": In(128),
            "waiting": Out(1),
            "header": Out(1),
        })

    @staticmethod
    def model(config, command, beats, table):
        """What the beats of one command become.

        Parameters
        ----------
        config : ChipConfig
        command : dict of `WeightCommand` fields
        beats : uint8 [n, bus_bytes]
        table : int8 [16]

        Returns
        -------
        dict with `vector`, `exponents` uint8 [beats, bus_bytes]; `codes` int8 [items, R, 32];
        `scale`, `minimum` float32 [items, R]
        """
        kind, fmt, minimum = (WeightKind(command["kind"]), command["scale_format"], command["minimum"])
        tiles, kblocks, bits8 = command["tiles"], command["kblocks"], command["code_bits8"]
        group, position = config.group, 0
        result = {"vector": beats[:0], "exponents": beats[:0]}
        if kind is WeightKind.VECTOR:
            tiles, kblocks, result["vector"] = 0, 0, beats
        elif kind is WeightKind.KEY:
            tiles, group, fmt, minimum, bits8 = 1, kblocks, ScaleFormat.E8M0, 0, 1
        elif kind is WeightKind.VALUE:
            kblocks, fmt, minimum, bits8 = 1, ScaleFormat.NONE, 0, 1

        def take(size):
            nonlocal position
            count = -(-size // config.bus_bytes)
            position += count
            return np.ascontiguousarray(beats[position - count:position]).reshape(-1)[:size]

        def halves(n):
            return block.model.scale_fp16(take(2 * TILE_ROWS * n).view("<u2"))

        codes, scales, minimums = [], [], []
        for first in [k for _ in range(tiles) for k in range(0, kblocks, group)]:
            n = min(group, kblocks - first)
            if fmt == ScaleFormat.E8M0:
                scales.append(block.model.scale_e8m0(take(TILE_ROWS * n)))
            else:
                scales.append(halves(n) if fmt == ScaleFormat.FP16 else np.ones(TILE_ROWS * n, np.float32))
            minimums.append(halves(n) if minimum else np.zeros(TILE_ROWS * n, np.float32))
            raw = take(TILE_ROWS * n * BLOCK // (1 if bits8 else 2))
            codes.append(raw.view(np.int8) if bits8 else
                         np.asarray(table, np.int8)[np.stack([raw & 15, raw >> 4], -1)].reshape(-1))
        if kind is WeightKind.KEY:
            result["exponents"], position = beats[position:], position + -(-kblocks * BLOCK // config.bus_bytes)
        assert kind is WeightKind.VECTOR or position == len(beats)

        def join(parts, *shape, dtype):
            return np.concatenate(parts or [np.zeros(0, dtype)]).reshape(-1, config.rows, *shape)

        return result | {"codes": join(codes, BLOCK, dtype=np.int8), "scale": join(scales, dtype=np.float32),
                         "minimum": join(minimums, dtype=np.float32)}

    def elaborate(self, platform):
        m = Module()
        phase, slot, index, command, first = walk(m, self)
        scale, minimum, full, raw4, raw8, fields, taken = self._collect(m, phase, slot, index, command, first)

        # Code table: a memory with a read port a code, as a choice of 16 values from registers is many wires. It is
        # written a value a cycle; codes wait meanwhile.
        m.submodules.table = table = memory.Memory(shape=signed(8), depth=16, init=[],
                                                   attrs={"ram_style": "distributed"})
        entry, values, number, filling = table.write_port(), Signal(128, reset_less=True), Signal(range(16)), Signal()
        m.d.comb += [entry.en.eq(filling), entry.addr.eq(number), entry.data.eq(values[:8].as_signed())]
        with m.If(filling):
            m.d.sync += [values.eq(values >> 8), number.eq(number + 1), filling.eq(~number.all())]
        with m.If(self.table_en):
            m.d.sync += [values.eq(self.table_data), number.eq(0), filling.eq(1)]

        # Item, in a register before the queue
        m.submodules.items = items = Queue(weight_block(self.config), self.ITEMS)
        wiring.connect(m, items.o, wiring.flipped(self.o))
        item = items.i
        with m.If(item.ready):
            m.d.sync += item.valid.eq(0)
        m.d.comb += taken.eq(full & ~filling & (item.ready | ~item.valid))
        with m.If(taken):
            m.d.sync += [item.valid.eq(1), item.p.has_minimum.eq(fields.minimum)]
            for code in range(self.config.rows * BLOCK):
                looked_up = table.read_port(domain="comb")
                m.d.comb += looked_up.addr.eq(raw4.word_select(code, 4))
                m.d.sync += item.p.codes[code].eq(
                    Mux(fields.code_bits8, raw8.word_select(code, 8).as_signed(), looked_up.data))
            for row in range(self.config.rows):
                value = Mux(fields.scale_format == ScaleFormat.FP16,
                            block.from_fp16(select(scale[1], Const(row, 3), 16)).as_value(),
                            block.from_e8m0(select(scale[0], Const(row, 3), 8)).as_value())
                value = Mux(fields.scale_format == ScaleFormat.NONE, block.scale_one().as_value(), value)
                m.d.sync += [
                    item.p.scale[row].as_value().eq(value),
                    item.p.minimum[row].eq(block.from_fp16(select(minimum, Const(row, 3), 16))),
                ]
        check_stream(m, item, "decoder: item")
        return m

    def _collect(self, m, phase, slot, index, command, first):
        """Keep headers and codes until an item is complete."""
        config = self.config
        bus, rows = config.bus_bits, config.rows

        # Headers: one memory for scales and one for minimums, so that both are read at once
        slot_bits = exact_log2(slot_beats(config))
        ports = []
        for kind in (Phase.SCALES, Phase.MINIMUMS):
            header = memory.Memory(shape=bus, depth=2 << slot_bits, init=[])
            m.submodules[kind.name.lower()] = header
            write, read = header.write_port(), header.read_port(domain="comb")
            m.d.comb += [
                write.addr.eq(Cat(index[:slot_bits], slot)),
                write.data.eq(self.i.payload),
                write.en.eq(self.i.valid & (phase == kind)),
            ]
            ports.append(read)

        m.submodules.vector = vector = StreamSlice(bus)  # its receiver is not to be seen from the walk over beats
        wiring.connect(m, vector.o, wiring.flipped(self.vector))

        # Codes: beats are shifted in until they are an item, or one beat is cut into items
        fields = Signal(WeightCommand, reset_less=True)
        hold = Signal(max(bus, 8 * BLOCK * rows), reset_less=True)
        hold_slot = Signal(reset_less=True)
        full, load, taken, complete = Signal(), Signal(), Signal(), Signal()

        def by_width(function):
            """`function(item bits)` for 4-bit and 8-bit codes, chosen by the fields of the held codes."""
            return Mux(fields.code_bits8, function(8 * BLOCK * rows), function(4 * BLOCK * rows))

        fill = Signal(range(max(2, len(hold) // bus)))  # beats of an incomplete item
        part = Signal(range(max(2, bus // (4 * BLOCK * rows))))  # items of the beat that have gone
        needed4, needed8 = (max(1, bits * BLOCK * rows // bus) for bits in (4, 8))
        spent = part == by_width(lambda bits: Const(max(1, bus // bits) - 1, len(part)))
        room = ~full | taken & spent
        m.d.comb += [
            load.eq(self.i.valid & (phase == Phase.CODES) & room),
            complete.eq(fill == Mux(command.code_bits8, needed8 - 1, needed4 - 1)),
            vector.i.payload.eq(self.i.payload),
            vector.i.valid.eq(self.i.valid & (phase == Phase.VECTOR)),
            self.exponents.payload.eq(self.i.payload),
            self.exponents.valid.eq(self.i.valid & (phase == Phase.EXPONENTS)),
        ]
        with m.Switch(phase):
            with m.Case(Phase.VECTOR):
                m.d.comb += self.i.ready.eq(vector.i.ready)
            with m.Case(Phase.EXPONENTS):
                m.d.comb += self.i.ready.eq(self.exponents.ready)
            with m.Case(Phase.SCALES, Phase.MINIMUMS):
                # The other slot's codes are all in `hold` by now, and this slot's have left it.
                m.d.comb += self.i.ready.eq(1)
                check(m, ~full | (hold_slot != slot), "decoder: a header is not written over while its codes wait")
            with m.Case(Phase.CODES):
                m.d.comb += self.i.ready.eq(room)
        number = Signal(range(config.interleave * max(config.group, config.max_head_blocks)), reset_less=True)
        with m.If(taken):
            m.d.sync += [number.eq(number + 1), part.eq(part + 1)]
            with m.If(spent):
                m.d.sync += full.eq(0)
        with m.If(load):
            m.d.sync += [hold.eq(Cat(hold, self.i.payload)[bus:]), fields.eq(command), hold_slot.eq(slot),
                         full.eq(complete), part.eq(0), fill.eq(Mux(complete, 0, fill + 1))]
            with m.If(first):
                m.d.sync += number.eq(0)
        raw = []
        for bits in (4 * BLOCK * rows, 8 * BLOCK * rows):
            # A complete item of several beats is at the top: the last beats that came.
            raw.append(hold[len(hold) - bits:] if bits >= bus else select(hold[len(hold) - bus:], part, bits))

        # A row group's scales are R or 2R bytes at `number` times their size.
        def address(size):
            return number[exact_log2(bus // size):]

        size8, size16 = 8 * rows, 16 * rows
        half = fields.scale_format == ScaleFormat.FP16
        m.d.comb += [
            ports[0].addr.eq(Cat(Mux(half, address(size16), address(size8))[:slot_bits], hold_slot)),
            ports[1].addr.eq(Cat(address(size16)[:slot_bits], hold_slot)),
        ]
        scale = [select(ports[0].data, number, size) for size in (size8, size16)]
        return scale, select(ports[1].data, number, size16), full, raw[0], raw[1], fields, taken
