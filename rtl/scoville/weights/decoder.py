"""The weight decoder: beats of the memory stream become blocks of codes with their scales."""

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from scoville.checks import check, check_stream
from scoville.config import BLOCK, SUPER_BLOCKS, TILE_ROWS
from scoville.control.queue import Queue
from scoville.isa import ScaleFormat
from scoville.numerics import block
from scoville.numerics.block import Scale
from scoville.slices import StreamSlice
from scoville.weights.two_level import high_part, scale_integers, select, two_levels
from scoville.weights.walk import Phase, WeightCommand, WeightKind, header_depths, walk

__all__ = ["WeightDecoder", "weight_block"]


def weight_block(config):
    """Layout of an item: for R rows, 32 codes (row-major), a scale and a minimum; with k_quants the integers that
    multiply the scale, one for each half of the codes, and the minimum.
    """
    layout = {
        "codes": data.ArrayLayout(signed(8), config.rows * BLOCK),
        "scale": data.ArrayLayout(Scale, config.rows),
        "minimum": data.ArrayLayout(Scale, config.rows),
        "has_minimum": 1,
    }
    if config.k_quants:
        layout |= {"integers": data.ArrayLayout(data.ArrayLayout(signed(8), 2), config.rows),
                   "minimum_integers": data.ArrayLayout(signed(7), config.rows)}
    return data.StructLayout(layout)


class WeightDecoder(wiring.Component):
    """Cuts the weight stream into headers and codes, and joins each row group's codes with its scales.

    An item holds R rows of one k-block of one tile; items come k-block by k-block, row group by row group, in the order
    of the beats (memory layouts: docs/design.md). 4-bit codes go through the code table, to which their high bits add
    multiples of 16; 8-bit codes pass.

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
        `scale`, `minimum` float32 [items, R]; `integers` int [items, R, 2], `minimum_integers` int [items, R]
        """
        kind, fmt, minimum = (WeightKind(command["kind"]), command["scale_format"], command["minimum"])
        tiles, kblocks, bits8 = command["tiles"], command["kblocks"], command["code_bits8"]
        high_bits, two_level = command.get("high_bits", 0), fmt == ScaleFormat.TWO_LEVEL
        group, position = config.group, 0
        result = {"vector": beats[:0], "exponents": beats[:0]}
        if kind is WeightKind.VECTOR:
            tiles, kblocks, result["vector"] = 0, 0, beats
        elif kind is WeightKind.KEY:
            tiles, group, fmt, minimum, bits8, high_bits = 1, kblocks, ScaleFormat.E8M0, 0, 1, 0
        elif kind is WeightKind.VALUE:
            kblocks, fmt, minimum, bits8, high_bits = 1, ScaleFormat.NONE, 0, 1, 0
        two_level &= kind is WeightKind.LINEAR

        def take(size):
            nonlocal position
            count = -(-size // config.bus_bytes)
            position += count
            return np.ascontiguousarray(beats[position - count:position]).reshape(-1)[:size]

        def halves(n):
            return block.model.scale_fp16(take(2 * TILE_ROWS * n).view("<u2"))

        codes, scales, minimums, integers, minimum_integers = [], [], [], [], []
        for first in [k for _ in range(tiles) for k in range(0, kblocks, group)]:
            n = min(group, kblocks - first)
            part = slice(first % SUPER_BLOCKS * TILE_ROWS, (first % SUPER_BLOCKS + n) * TILE_ROWS)
            if two_level:
                if first % SUPER_BLOCKS == 0:
                    scale = np.tile(halves(1), SUPER_BLOCKS)
                    inner, lowest = scale_integers(take, minimum)
                    least = np.tile(halves(1) if minimum else np.zeros(TILE_ROWS, np.float32), SUPER_BLOCKS)
                scales.append(scale[part])
                minimums.append(least[part])
                integers.append(inner[part])
                minimum_integers.append(lowest[part])
            else:
                if fmt == ScaleFormat.E8M0:
                    scales.append(block.model.scale_e8m0(take(TILE_ROWS * n)))
                else:
                    scales.append(halves(n) if fmt == ScaleFormat.FP16 else np.ones(TILE_ROWS * n, np.float32))
                minimums.append(halves(n) if minimum else np.zeros(TILE_ROWS * n, np.float32))
                integers.append(np.ones((TILE_ROWS * n, 2), np.int8))
                minimum_integers.append(np.ones(TILE_ROWS * n, np.int8))
            above = high_part(take, n, high_bits)
            raw = take(TILE_ROWS * n * BLOCK // (1 if bits8 else 2))
            codes.append(raw.view(np.int8) if bits8 else
                         np.asarray(table, np.int8)[np.stack([raw & 15, raw >> 4], -1)].reshape(-1) + above)
        if kind is WeightKind.KEY:
            result["exponents"], position = beats[position:], position + -(-kblocks * BLOCK // config.bus_bytes)
        assert kind is WeightKind.VECTOR or position == len(beats)

        def join(parts, *shape, dtype):
            return np.concatenate(parts or [np.zeros(0, dtype)]).reshape(-1, config.rows, *shape)

        return result | {"codes": join(codes, BLOCK, dtype=np.int8), "scale": join(scales, dtype=np.float32),
                         "minimum": join(minimums, dtype=np.float32),
                         "integers": join(integers, 2, dtype=np.int8),
                         "minimum_integers": join(minimum_integers, dtype=np.int8)}

    def elaborate(self, platform):
        m = Module()
        walked = walk(m, self)
        scale, minimum, integers, above, full, raw4, raw8, fields, taken = self._collect(m, *walked)

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
                value = looked_up.data
                if self.config.k_quants:
                    value = (value + (above(code) << 4))[:8].as_signed()
                m.d.sync += item.p.codes[code].eq(
                    Mux(fields.code_bits8, raw8.word_select(code, 8).as_signed(), value))
            for row in range(self.config.rows):
                value = Mux(fields.scale_format[1],  # FP16, alone or of two levels
                            block.from_fp16(select(scale[1], Const(row, 3), 16)).as_value(),
                            block.from_e8m0(select(scale[0], Const(row, 3), 8)).as_value())
                value = Mux(fields.scale_format == ScaleFormat.NONE, block.scale_one().as_value(), value)
                m.d.sync += [
                    item.p.scale[row].as_value().eq(value),
                    item.p.minimum[row].eq(block.from_fp16(select(minimum, Const(row, 3), 16))),
                ]
                if self.config.k_quants:
                    of_scale, of_minimum = integers(row)
                    m.d.sync += [*(item.p.integers[row][half].eq(each) for half, each in enumerate(of_scale)),
                                 item.p.minimum_integers[row].eq(of_minimum)]
        check_stream(m, item, "decoder: item")
        return m

    def _collect(self, m, phase, slot, high_slot, index, command, first, fresh):
        """Keep headers and codes until an item is complete."""
        config = self.config
        bus, rows = config.bus_bits, config.rows

        # Headers: a memory for each kind, so that all are read at once
        headers, depth_bits = {}, {kind: exact_log2(beats) for kind, beats in header_depths(config).items()}
        for kind, bits in depth_bits.items():
            headers[kind] = header = memory.Memory(shape=bus, depth=2 << bits, init=[])
            m.submodules[kind.name.lower()] = header
            write = header.write_port()
            m.d.comb += [
                write.addr.eq(Cat(index[:bits], high_slot if kind is Phase.HIGH else slot)),
                write.data.eq(self.i.payload),
                write.en.eq(self.i.valid & (phase == kind)),
            ]

        m.submodules.vector = vector = StreamSlice(bus)  # its receiver is not to be seen from the walk over beats
        wiring.connect(m, vector.o, wiring.flipped(self.vector))

        # Codes: beats are shifted in until they are an item, or one beat is cut into items
        fields = Signal(WeightCommand, reset_less=True)
        hold = Signal(max(bus, 8 * BLOCK * rows), reset_less=True)
        hold_slot, hold_high = Signal(reset_less=True), Signal(reset_less=True)
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
            # The other slot's codes are all in `hold` by now, and this slot's have left it.
            with m.Case(*(kind for kind in headers if kind is not Phase.HIGH)):
                m.d.comb += self.i.ready.eq(1)
                check(m, ~full | (hold_slot != slot), "decoder: a header is not written over while its codes wait")
            if config.k_quants:
                with m.Case(Phase.HIGH):
                    m.d.comb += self.i.ready.eq(1)
                    check(m, ~full | (hold_high != high_slot), "decoder: nor are high bits")
            with m.Case(Phase.CODES):
                m.d.comb += self.i.ready.eq(room)
        numbers = max(config.group, config.max_head_blocks, SUPER_BLOCKS if config.k_quants else 1)
        number = Signal(range(config.interleave * numbers), reset_less=True)  # of the item behind its headers
        with m.If(taken):
            m.d.sync += [number.eq(number + 1), part.eq(part + 1)]
            with m.If(spent):
                m.d.sync += full.eq(0)
        with m.If(load):
            m.d.sync += [hold.eq(Cat(hold, self.i.payload)[bus:]), fields.eq(command), hold_slot.eq(slot),
                         hold_high.eq(high_slot),
                         full.eq(complete), part.eq(0), fill.eq(Mux(complete, 0, fill + 1))]
            with m.If(first & fresh):
                m.d.sync += number.eq(0)
        raw = []
        for bits in (4 * BLOCK * rows, 8 * BLOCK * rows):
            # A complete item of several beats is at the top: the last beats that came.
            raw.append(hold[len(hold) - bits:] if bits >= bus else select(hold[len(hold) - bus:], part, bits))

        def read(kind, place):
            """A header's beat at an address."""
            port = headers[kind].read_port(domain="comb")
            m.d.comb += port.addr.eq(Cat(place[:depth_bits[kind]], hold_high if kind is Phase.HIGH else hold_slot))
            return port.data

        def address(number, size):
            """Of the beat with `size` bits at `number` times their size."""
            return number[exact_log2(bus // size):]

        # A row group's scales are R or 2R bytes; of two levels 2R bytes for all blocks of the super-block.
        size8, size16 = 8 * rows, 16 * rows
        two_level = fields.scale_format == ScaleFormat.TWO_LEVEL if config.k_quants else Const(0)
        whose = Mux(two_level, number[:exact_log2(config.interleave)], number)
        place = Mux(fields.scale_format[1], address(whose, size16), address(number, size8))
        scales, minimums = read(Phase.SCALES, place), read(Phase.MINIMUMS, address(whose, size16))
        scale = [select(scales, number, size8), select(scales, whose, size16)]
        integers = above = None
        if config.k_quants:
            integers, above = two_levels(config, number, fields, address, read)
        return scale, select(minimums, whose, size16), integers, above, full, raw[0], raw[1], fields, taken
