"""The block quantiser: 32 rows of T lanes become one activation block a lane."""

from itertools import chain

import numpy as np
from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from scoville.checks import check, check_stream
from scoville.config import BLOCK
from scoville.numerics import block
from scoville.numerics.pipe import Pipe, Staged
from scoville.slices import StreamSlice

from .router import quant_info, quantised_block

__all__ = ["QuantSource", "Quantiser", "model", "quantiser_command"]


class QuantSource(enum.Enum, shape=1):
    CHAIN = 0
    SOFTMAX = 1


def quantiser_command(config):
    """Layout of a command: the rows of one instruction, and what the router needs to know about them."""
    return data.StructLayout({
        "source": QuantSource,
        "blocks": 24,  # a seat
        "mask": config.seats,  # seats whose blocks count; not 0
        "first_phase": range(config.phases),  # rows come in runs, of these phases in turn; 0 of SOFTMAX with one slot
        "last_phase": range(config.phases),
        "half": 1,  # runs are of 16 rows, as after GLU, and not of 32
        "kv8": 1,  # 8 bits instead of act_bits
        "info": quant_info(config),
    })


class Quantiser(wiring.Component):
    """Finds each lane's block exponent as the rows come, then scales and rounds the block.

    ``e = floor(log2 max|x|) - (bits - 2)``, ``q = round_half_even(x * 2^-e)`` clamped to ``2^(bits-1) - 1``, see
    `numerics.block`; bits is act_bits, or 8 for the KV cache.

    A block of every phase is open at a time; they are complete in the order of the phases, and their slots make a ring.
    With more slots than one each source has a ring of its own, and takes rows while the other does: attention of short
    runs has as many rows of results as of probabilities. Then a source's blocks are in the order of its commands; a
    block of the softmax unit's goes before one of the chain's.

    Throughput: one row a cycle, of each ring. The blocks of the lanes of the mask come out in the lanes' order, the
    first one 6 + 32 / P cycles after the block's last row and then one every 32 / P cycles, where P = max(8, T).

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    command : In(stream(quantiser_command)), with one slot taken with the last row of its last block, with more as soon
        as not two of its source wait
    chain : In(stream(FP32[T])), the rows
    softmax : In(stream(FP32[seats])), the rows, of all phases at once
    o : Out(stream(quantised_block))
    mask : Out(T), lanes that count of the row of `chain` that is taken
    busy : rows or blocks are inside, or a command waits
    """

    def __init__(self, config):
        self.config = config
        self.width = min(BLOCK, max(8, config.lanes))  # values that are scaled and rounded at a time
        self.groups = BLOCK // self.width
        self.group_bits = exact_log2(self.groups)
        self.slots = 2 * config.phases  # of a block: some are written while others are read
        values = data.ArrayLayout(32, config.lanes)
        super().__init__({
            "command": In(stream.Signature(quantiser_command(config))),
            "chain": In(stream.Signature(values)),
            "softmax": In(stream.Signature(data.ArrayLayout(32, config.seats))),
            "o": Out(stream.Signature(quantised_block(config))),
            "mask": Out(config.lanes),
            "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        if self.config.slots == 1:
            rings = [self._collect(m, self.command, "")]
            commands = self.command.valid
        else:
            queues = self._by_source(m)
            rings = [self._collect(m, queue.o, f"_{source.name.lower()}", source) for source, queue in queues.items()]
            commands = self.command.valid | Cat(queue.o.valid for queue in queues.values()).any()
        m.d.comb += self.busy.eq(self._convert(m, rings) | commands)
        return m

    def _by_source(self, m):
        """The commands of each source, in its own queue: dict of `StreamSlice`."""
        command, queues = self.command, {}
        for source in (QuantSource.SOFTMAX, QuantSource.CHAIN):
            queues[source] = queue = StreamSlice(command.payload.shape())
            m.submodules[f"{source.name.lower()}_commands"] = queue
            m.d.comb += queue.i.payload.eq(command.payload)
            with m.If(command.payload.source == source):
                m.d.comb += [queue.i.valid.eq(command.valid), command.ready.eq(queue.i.ready)]
        return queues

    def _collect(self, m, commands, suffix, source=None):
        """Rows of `source`, None for either, into the lanes' memories; the largest exponent field of each lane.

        Returns a ring: the lanes of each slot that are to be read, what is known of its block, and the read ports.
        """
        config, command = self.config, commands.payload
        waiting = Array(Signal(self.config.lanes, name=f"waiting{n}{suffix}") for n in range(self.slots))
        layout = data.StructLayout({"kv8": 1, "index": 24, "phase": range(self.config.phases), "phase_last": 1,
                                    "last": 1, "info": quant_info(self.config),
                                    "field": data.ArrayLayout(8, self.config.lanes)})
        notes = [Signal(layout, name=f"notes{n}{suffix}", reset_less=True) for n in range(self.slots)]
        index = Signal(24)
        # A run's row, its phase counted from the command's first, and whether it is the second half of a block.
        count, turn, upper = Signal(range(BLOCK)), Signal(range(config.phases)), Signal()
        base, span = Signal(range(self.slots)), Signal(range(config.phases))
        row = Signal(range(BLOCK))
        accept, run_ends, complete, last_turn = Signal(), Signal(), Signal(), Signal()
        from_softmax = command.source == QuantSource.SOFTMAX if source is None else Const(source is QuantSource.SOFTMAX)
        last = index == command.blocks - 1
        m.d.comb += [
            span.eq(command.last_phase - command.first_phase),
            last_turn.eq(from_softmax | (turn == span)),
            row.eq(Mux(command.half, Cat(count[:4], upper), count)),
            run_ends.eq(Mux(command.half, count[:4].all(), count.all())),
            complete.eq(row.all()),
        ]
        if source is not QuantSource.SOFTMAX:
            m.d.comb += self.mask.eq(command.mask.word_select((command.first_phase + turn)[:len(turn)], config.lanes))

        # Of P slots from `base` on, each is in a bank of its own: the softmax unit's rows fill them side by side.
        readers, occupied = [], []
        for bank in range(config.phases):
            turn_here, slot, active = Signal.like(turn), Signal.like(base), Signal(name=f"active{bank}")
            phase, mask = Signal.like(turn), Signal(config.lanes)
            values = Signal(data.ArrayLayout(32, config.lanes))
            m.d.comb += [
                turn_here.eq(bank - base),
                slot.eq(base + turn_here),
                phase.eq(command.first_phase + turn_here),
                mask.eq(command.mask.word_select(phase, config.lanes)),
                active.eq(Mux(from_softmax, turn_here <= span, turn_here == turn)),
                values.eq(Mux(from_softmax, self.softmax.payload.as_value().word_select(
                    turn_here if config.slots == 1 else phase, 32 * config.lanes), self.chain.payload.as_value())),
            ]
            occupied.append(active & waiting[slot].any())
            for this in range(bank, self.slots, config.phases):
                with m.If(accept & active & (slot == this)):
                    for lane in range(config.lanes):
                        field, largest = values[lane][23:31], notes[this].field[lane]
                        with m.If((row == 0) | (field > largest)):
                            m.d.sync += largest.eq(field)
                    with m.If(complete):
                        check(m, ~waiting[this].any(), "quantiser: a block is complete where none waits")
                        check(m, mask.any(), "quantiser: of every phase some lane counts")
                        m.d.sync += [
                            waiting[this].eq(mask),
                            notes[this].kv8.eq(command.kv8),
                            notes[this].index.eq(index),
                            notes[this].phase.eq(phase),
                            notes[this].phase_last.eq(turn_here == span),
                            notes[this].last.eq(last & (turn_here == span)),
                            notes[this].info.eq(command.info),
                        ]
            enable = Mux(accept & active, 1 << row[:5 - self.group_bits], 0)
            address = Cat(row[5 - self.group_bits:], slot[exact_log2(config.phases):])
            readers.append([self._rows(m, f"rows{lane}_{bank}{suffix}", enable, address, values[lane])
                            for lane in range(config.lanes)])

        free = Signal()
        m.d.comb += free.eq(commands.valid & ~Cat(occupied).any())
        if source is not QuantSource.SOFTMAX:
            m.d.comb += self.chain.ready.eq(free & ~from_softmax)
        if source is not QuantSource.CHAIN:
            m.d.comb += self.softmax.ready.eq(free & from_softmax)
        m.d.comb += [
            accept.eq(free & Mux(from_softmax, self.softmax.valid, self.chain.valid)),
            commands.ready.eq(accept & last & complete & last_turn),
        ]
        with m.If(accept):
            m.d.sync += count.eq(Mux(run_ends, 0, count + 1))
            with m.If(run_ends):
                m.d.sync += turn.eq(Mux(last_turn, 0, turn + 1))
            with m.If(run_ends & last_turn):
                m.d.sync += upper.eq(~complete)
            with m.If(complete & last_turn):
                m.d.sync += [base.eq(base + span + 1), index.eq(Mux(last, 0, index + 1))]
        return waiting, notes, readers

    def _rows(self, m, name, enable, address, value):
        """The memory of a lane's rows, two slots deep; returns its read port."""
        memory = Memory(shape=data.ArrayLayout(32, self.width), depth=2 * self.groups, init=[])
        m.submodules[name] = memory
        writer = memory.write_port(granularity=1)
        m.d.comb += [writer.addr.eq(address), writer.en.eq(enable)]
        m.d.comb += [writer.data[slot].eq(value) for slot in range(self.width)]
        return memory.read_port()

    def _next_slot(self, m, rings, enable, group, slot):
        """Of two rings the first that has blocks, for all groups of a block: drives the `slot` that is read of it.
        Returns the ring's number, and the register of its slot."""
        registers = Array(Signal(range(self.slots), name=f"slot{number}") for number in range(len(rings)))
        ring, before = Signal(), Signal()
        (waiting, *_), _ = rings
        m.d.comb += [ring.eq(Mux(group == 0, ~waiting[registers[0]].any(), before)), slot.eq(registers[ring])]
        with m.If(enable):
            m.d.sync += before.eq(ring)
        return ring, registers[ring]

    def _convert(self, m, rings):
        """Blocks out of the memories, a group of values a cycle; returns whether any are inside."""
        config = self.config
        enable = Signal()
        pipe = Pipe(m, enable, occupied=Signal(name="occupied"))
        waiting, notes, readers = (list(chain.from_iterable(parts)) for parts in zip(*rings, strict=True))

        # which group of which lane
        bank_bits = exact_log2(config.phases)
        slot, group = Signal(range(self.slots)), Signal(range(self.groups))
        turn, place, which = slot, slot, slot[:bank_bits]
        if len(rings) > 1:
            ring, turn = self._next_slot(m, rings, enable, group, slot)
            place, which = Cat(slot, ring), Cat(which, ring)
        lanes, first, note = Signal(config.lanes), Signal(config.lanes), Signal(notes[0].shape())
        last_group = group == self.groups - 1
        waiting = Array(waiting)
        m.d.comb += [
            lanes.eq(waiting[place]),
            first.eq(lanes & -lanes),
            note.eq(Array(each.as_value() for each in notes)[place]),
        ]
        with m.If(enable & lanes.any()):
            m.d.sync += group.eq(Mux(last_group, 0, group + 1))
            with m.If(last_group):
                m.d.sync += waiting[place].eq(lanes & ~first)
                with m.If(lanes == first):
                    m.d.sync += turn.eq(slot + 1)
        lane, field = Signal(range(max(2, config.lanes))), Signal(8)
        for reader in (reader for bank in readers for reader in bank):
            m.d.comb += [reader.en.eq(enable), reader.addr.eq(Cat(group[:self.group_bits], slot[bank_bits:]))]
        for this in range(config.lanes):
            with m.If(first[this]):
                m.d.comb += [lane.eq(this), field.eq(note.field[this])]

        # the group's values, scaled and rounded
        chosen, bank = pipe.reg(first, 0), pipe.reg(which, 0)
        read = Signal(readers[0][0].data.shape())
        for number, lane_readers in enumerate(readers):
            for this, reader in enumerate(lane_readers):
                with m.If(chosen.value[this] & (bank.value == number)):
                    m.d.comb += read.eq(reader.data)
        values = pipe.reg(read, 1)
        bits = config.act_bits
        e8 = pipe.reg(block.exponent_of(field, bits, note.kv8), 0)
        kv8 = pipe.input(note.kv8)
        codes = [block.quantise_code(pipe, pipe.input(values.value[slot], 2), e8, bits, kv8)
                 for slot in range(self.width)]
        done = codes[0].at
        total = pipe.reg(tree_sum([code.value for code in codes]), done)
        assert len(total.value) == bits + self.width.bit_length() - 1
        done += 1

        # groups gather in the output register
        valids = pipe.occupy(lanes.any(), done)
        def aged(value):
            return pipe.delay(value if isinstance(value, Staged) else pipe.input(value), done)

        begin, end = aged(group == 0), aged(last_group)
        codes = [aged(code) for code in codes]
        item = self.o.payload
        lane_last = lanes == first
        tags = [(item.block.e8, aged(e8)), (item.lane, aged(lane)), (item.phase, aged(note.phase)),
                (item.lane_last, aged(lane_last & note.phase_last)),
                (item.last, aged(lane_last & note.last)), (item.index, aged(note.index)), (item.info, aged(note.info))]
        with m.If(enable):
            m.d.sync += self.o.valid.eq(valids[-1] & end)
        with m.If(enable & valids[-1]):
            kept = [item.block.q[slot] for slot in range(self.width, BLOCK)]
            m.d.sync += [item.block.q[slot].eq(code) for slot, code in enumerate(kept + codes)]
            m.d.sync += item.block.sum.eq(Mux(begin, 0, item.block.sum) + total.value)
            m.d.sync += [tag.eq(value) for tag, value in tags]
        m.d.comb += enable.eq(self.o.ready | ~self.o.valid)
        check_stream(m, self.o, "quantiser: o")
        return lanes.any() | pipe.occupied | self.o.valid


def tree_sum(values):
    """Sum of equally wide signed values, as a tree, so that it is no wider than it has to be."""
    while len(values) > 1:
        values = [a + b for a, b in zip(values[::2], values[1::2], strict=True)]
    return values[0]


def model(x, mask, bits):
    """The blocks of a command, in the order in which they leave.

    Parameters
    ----------
    x : float32[32 * blocks, T]
    mask : lanes that count, bit by bit
    bits : of a code

    Returns
    -------
    list of (lane, index, q int8 or int16[32], e8, sum)
    """
    blocks = np.ascontiguousarray(np.asarray(x, np.float32).T).reshape(x.shape[1], -1, BLOCK)
    q, e8, total = block.model.quantise(blocks, bits)
    return [(lane, index, q[lane, index], int(e8[lane, index]), int(total[lane, index]))
            for index in range(blocks.shape[1]) for lane in range(x.shape[1]) if mask >> lane & 1]
