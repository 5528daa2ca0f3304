"""The dot array: T lanes of R dot units eat the weight stream, one item at a time."""

import numpy as np
from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from scoville.array.dot_unit import factor_age, linear
from scoville.array.drain import Drain, drain_row
from scoville.array.lane import Lane, Latencies, accumulator_tiles
from scoville.array.operand import credit_bits, operand_depth, operand_place
from scoville.checks import check
from scoville.numerics import block, fp32
from scoville.numerics.block import block_layout
from scoville.numerics.pipe import Pipe
from scoville.weights.decoder import weight_block

__all__ = ["ArrayTask", "DotArray", "array_task"]


def array_task(config):
    """Layout of a task: one tile of 32 rows over `kblocks` blocks, for some phases.

    ``address``: operand block of k-block 0; ``first_phase``, ``last_phase``: every weight is used for these, in turn;
    ``tile``: which accumulators; ``clear``: they start from zero;
    ``rescale``: before the first block they are multiplied by 2^-shift of their seat;
    ``drain``: the results leave; ``tag``: where to, 0 the chain, 1 the softmax unit;
    ``guard``: k-block k waits until more than ``need`` + k operand blocks (modulo 2^`credit_bits`) have been written.
    """
    return data.StructLayout({
        "address": range(operand_depth(config)),
        "kblocks": 12,
        "first_phase": range(config.phases),
        "last_phase": range(config.phases),
        "tile": range(accumulator_tiles(config)),
        "clear": 1,
        "rescale": 1,
        "drain": 1,
        "tag": 1,
        "guard": 1,
        "need": credit_bits(config),
        "shift": data.ArrayLayout(8, config.seats),
    })


ArrayTask = array_task


class DotArray(wiring.Component):
    """T lanes of R dot units, their accumulators and the drain.

    Task: for every k-block, for every row group, one item of the weight stream meets operand block address + k of every
    lane, for one phase after the other. acc = (clear ? 0 : acc * 2^-shift), then
    acc = acc + (dot * scale + sum * minimum) * 2^(e8 - 127) in the order of k, roundings as in the numerics contract.

    Throughput: an item in `block_cycles` cycles a phase, without a bubble between k-blocks, tiles and tasks.
    A tile that drains waits at its last k-block until the drain has room for it, a guarded task for its operands;
    nothing else stops the array, and the pipeline behind the issue moves in every cycle. Latency: `latency` cycles from
    an item to its accumulators, and two more to their first row.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    task : In(stream(array_task))
    weights : In(stream(weight_block))
    operand_address : Out, operand_blocks : In, the operand buffer's read port
    credit : In, operand blocks that are good from the next cycle on
    o : Out(stream(drain_row))
    begin : Out(1), a task begins; the one behind it has been taken already, and waits
    busy : Out(1), some accepted task is not done, or its rows have not all left `o`
    issue, no_task, no_weights, no_operands, drain_full : Out(1), exactly one is high in each cycle: useful work, or
        what is missing
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "task": In(stream.Signature(array_task(config))),
            "weights": In(stream.Signature(weight_block(config))),
            "operand_address": Out(operand_place(config)),
            "operand_blocks": In(data.ArrayLayout(block_layout(config.act_bits), config.lanes)),
            "o": Out(stream.Signature(drain_row(config))),
            "begin": Out(1),
            "busy": Out(1),
            "issue": Out(1),
            "no_task": Out(1),
            "no_weights": Out(1),
            "drain_full": Out(1),
            "no_operands": Out(1),
            "credit": In(credit_bits(config)),
        })

    @property
    def latency(self):
        """Cycles from the acceptance of an item to its new accumulators."""
        return self.config.block_cycles + Latencies(self.config).result

    @staticmethod
    def model(codes, scales, minimums, q, e8, sums, acc=None, shift=None):
        """The accumulators after one task: `linear` on the rescaled accumulators.

        Parameters
        ----------
        codes, scales, minimums, q, e8, sums, acc : as for `linear`, N = 32 rows
        shift : integers [T], or None for no rescaling
        """
        if acc is not None and shift is not None:
            acc = fp32.model.scale2(acc, -np.asarray(shift, np.int64))
        return linear(codes, scales, minimums, q, e8, sums, acc)

    def elaborate(self, platform):
        m = Module()
        config, latency = self.config, Latencies(self.config)
        m.submodules.drain = drain = Drain(config)
        wiring.connect(m, wiring.flipped(self.o), drain.o)

        # Issue: which k-block and row group is next
        # The task behind it waits here, so that the back end does not see in the same cycle what the array does. One in
        # two cycles is enough: a task takes four at least.
        following, follows, next_task = Signal(array_task(config), reset_less=True), Signal(), Signal()
        with m.If(self.task.valid & self.task.ready):
            m.d.sync += [following.eq(self.task.payload), follows.eq(1)]
        with m.Elif(next_task):
            m.d.sync += follows.eq(0)
        task = Signal(array_task(config), reset_less=True)
        active = Signal()
        k = Signal(12, reset_less=True)  # k-blocks after this one
        group = Signal(range(config.interleave), reset_less=True)
        group_last = Signal(reset_less=True)
        start = Signal(reset_less=True)  # this is the task's first k-block
        slices = Signal(range(max(2, config.block_cycles)))  # cycles that the item of before still needs
        # An item is taken from the stream for the first phase, and used again for those after it. Which of both is next
        # when the item of before needs no more cycles, and whether it is the last, are registers, as much waits for it.
        phase, phase_next = Signal(range(config.phases), reset_less=True), Signal(range(config.phases))
        last_turn = Signal(init=1, reset_less=True)
        fresh = Signal(init=1)
        again = Signal()
        used, used_next, idle_next = Signal(), Signal(), Signal()
        may = Signal()  # it is fresh, and the task, its operands and room for its results are there
        active_next, here_next, room_next = Signal(), Signal(), Signal()
        accept, go, finish = Signal(), Signal(), Signal()
        final = Signal(reset_less=True)  # k is 0
        draining = Signal(reset_less=True)  # and the task drains
        asks = Signal(reset_less=True)  # and this is its first item: it needs room in the drain
        drains_next, drains_first = task.drain & (k == 1), following.drain & (following.kblocks == 1)
        last_group = config.interleave - 1
        # Operand blocks that have been written, and by how many they exceed what this k-block waits for. Whether it is
        # `here`, and whether the drain has `room`, is worked out a cycle before, for each of what can come next.
        written = Signal(credit_bits(config))
        excess = Signal(signed(credit_bits(config)), reset_less=True)
        here, room, next_block = Signal(reset_less=True), Signal(reset_less=True), Signal()
        stay, move, change = (Signal.like(excess, name=name) for name in ("stay", "move", "change"))
        m.d.comb += [
            stay.eq(excess + self.credit),
            move.eq(excess + self.credit - 1),
            change.eq(written + self.credit - following.need),
            next_block.eq(go & last_turn & group_last),
            self.weights.ready.eq(may),
            accept.eq(self.weights.ready & self.weights.valid),
            go.eq(accept | again),
            used_next.eq(Mux(go, ~last_turn, used)),
            phase_next.eq(Mux(last_turn, task.first_phase, phase + 1)),
            idle_next.eq(Mux(go, config.block_cycles == 1, slices <= 1)),
            finish.eq(next_block & final),
            self.task.ready.eq(~follows),
            next_task.eq(~active | finish),
            self.begin.eq(follows & next_task),
            drain.reserve.eq(accept & asks),
            self.issue.eq(go | ~(fresh | again)),
            self.no_task.eq(~self.issue & ~active),
            self.drain_full.eq(~self.issue & active & ~room),
            self.no_operands.eq(~self.issue & active & room & ~here),
            self.no_weights.eq(~self.issue & active & room & here),
        ]
        here_first, here_still, here_then = (Signal(name=name) for name in ("here_first", "here_still", "here_then"))
        room_first, room_still, room_then = (Signal(name=name) for name in ("room_first", "room_still", "room_then"))
        m.d.comb += [
            room_first.eq(~drains_first | drain.available),
            room_still.eq(~asks | go & last_turn | drain.available),
            room_then.eq(~drains_next | drain.available),
            here_first.eq(~following.guard | (change > 0)),
            here_still.eq(~task.guard | (stay > 0)),
            here_then.eq(~task.guard | (move > 0)),
        ]
        if config.block_cycles > 1:  # nothing can be taken right behind an item
            m.d.comb += [active_next.eq(active | follows), here_next.eq(Mux(active, here_still, here_first)),
                         room_next.eq(Mux(active, room_still, room_first))]
        else:
            m.d.comb += [active_next.eq(Mux(next_task, follows, active)),
                         here_next.eq(Mux(next_task, here_first, Mux(next_block, here_then, here_still))),
                         room_next.eq(Mux(next_task, room_first, Mux(next_block, room_then, room_still)))]
        m.d.sync += [used.eq(used_next), fresh.eq(idle_next & ~used_next), again.eq(idle_next & used_next),
                     may.eq(idle_next & ~used_next & active_next & here_next & room_next),
                     written.eq(written + self.credit), excess.eq(Mux(next_block, move, stay)),
                     here.eq(Mux(next_block, here_then, here_still)),
                     room.eq(Mux(next_block, room_then, room_still))]
        with m.If(go):
            m.d.sync += [slices.eq(config.block_cycles - 1), phase.eq(phase_next),
                         last_turn.eq(phase_next == task.last_phase)]
            with m.If(last_turn):
                m.d.sync += [group.eq(group + 1), group_last.eq(group == last_group - 1), asks.eq(0)]
                with m.If(group_last):
                    m.d.sync += [group.eq(0), start.eq(0), k.eq(k - 1), task.address.eq(task.address + 1),
                                 final.eq(k == 1), draining.eq(drains_next), asks.eq(drains_next)]
        with m.Elif(slices != 0):
            m.d.sync += slices.eq(slices - 1)
        with m.If(next_task):
            m.d.sync += [active.eq(follows), task.eq(following), phase.eq(following.first_phase),
                         last_turn.eq(following.first_phase == following.last_phase), k.eq(following.kblocks - 1),
                         final.eq(following.kblocks == 1), draining.eq(drains_first), asks.eq(drains_first),
                         group.eq(0), group_last.eq(last_group == 0), start.eq(1),
                         excess.eq(change), here.eq(here_first), room.eq(room_first)]

        # The item, and the operand address that goes with it
        item = Signal(weight_block(config), reset_less=True)
        place, held = Signal(operand_place(config)), Signal(operand_place(config), reset_less=True)
        m.d.comb += [
            place.address.eq(task.address),
            place.phase.eq(phase),
            self.operand_address.eq(Mux(fresh | again, place.as_value(), held.as_value())),
        ]
        with m.If(accept):
            m.d.sync += item.eq(self.weights.payload)
        with m.If(go):
            m.d.sync += held.eq(place)
        slice_index = Signal(range(max(2, config.block_cycles)), reset_less=True)
        m.d.sync += slice_index.eq(Mux(go, 0, slice_index + 1))

        # What travels with it: age 0 is the cycle of its last slice. Nothing moves where no item is.
        moving = Signal()
        pipe = Pipe(m, moving)
        control = Signal(data.StructLayout({
            "address": range(config.interleave * config.phases * accumulator_tiles(config)), "clear": 1, "drain": 1,
            "tag": 1, "phase": range(config.phases), "last": 1,
            "shift": data.ArrayLayout(8, config.lanes)}), reset_less=True)
        valid = Signal()
        m.d.sync += valid.eq(slices == 1 if config.block_cycles > 1 else go)
        with m.If(go):
            m.d.sync += [
                control.address.eq(Cat(group, phase, task.tile)),
                control.phase.eq(phase),
                control.last.eq(last_turn),
                control.clear.eq(task.clear & start),
                control.drain.eq(draining),
                control.tag.eq(task.tag),
                control.shift.eq(Mux(task.rescale & start,
                                     task.shift.as_value().word_select(phase, 8 * config.lanes), 0)),
            ]
        scales, minimums = [], []
        for row in range(config.rows):
            scale = pipe.input(item.scale[row])
            minimum = pipe.input(data.View(block.Scale, Mux(item.has_minimum, item.minimum[row].as_value(), 0)))
            if config.k_quants:  # each times its integers, once for all lanes
                scale = block.scale_products(pipe, scale, item.integers[row])
                minimum = block.scale_products(pipe, minimum, [item.minimum_integers[row]])
            scales.append(pipe.delay(scale, latency.scale))
            minimums.append(pipe.delay(minimum, latency.scale))
        clear, shift = pipe.input(control.clear), pipe.input(control.shift)
        write = pipe.input(control.address)
        origin = pipe.delay(pipe.input(Cat(control.tag, control.phase, control.last)), latency.result)
        valids = [valid]
        for _ in range(latency.result):
            moved = Signal(name="valid")
            m.d.sync += moved.eq(valids[-1])
            valids.append(moved)

        # Lanes, and the codes of their rows
        shared = []
        for row in range(config.rows):
            codes = item.codes.as_value().word_select(row, 8 * 32)
            if config.block_cycles > 1:
                codes = codes.word_select(slice_index, 8 * config.dot_width)
            shared.append(pipe.delay(pipe.input(codes), factor_age(config)))
        lanes = []
        for index in range(config.lanes):
            m.submodules[f"lane{index}"] = lane = Lane(config)
            lanes.append(lane)
            for row in range(config.rows):
                m.d.comb += lane.codes[row].as_value().eq(shared[row])
            m.d.comb += [
                lane.enable.eq(moving),
                lane.slice.eq(slice_index),
                lane.block.eq(self.operand_blocks[index]),
                *(lane.scale[row].eq(scales[row]) for row in range(config.rows)),
                *(lane.minimum[row].eq(minimums[row]) for row in range(config.rows)),
                lane.read.eq(pipe.delay(write, latency.read)),
                lane.control.clear.eq(pipe.delay(clear, latency.rescale)),
                lane.control.shift.eq(pipe.delay(shift, latency.rescale)[index]),
                lane.write.eq(pipe.delay(write, latency.result)),
                lane.write_en.eq(valids[latency.result]),
            ]

        # Drain
        leave = pipe.valid(valid & control.drain, latency.result)
        m.d.comb += [
            drain.write.valid.eq(leave),
            Cat(drain.write.p.tag, drain.write.p.phase, drain.write.p.last).eq(origin),
        ]
        for row in range(config.rows):
            for index, lane in enumerate(lanes):
                m.d.comb += drain.write.p["values"][row][index].eq(lane.values[row])

        pending = Signal()  # an item is in the pipeline
        in_flight = Signal(range(latency.result + 3))
        m.d.comb += pending.eq(in_flight != 0)
        m.d.sync += in_flight.eq(in_flight + go - valids[latency.result])
        m.d.sync += moving.eq(go | pending)
        check(m, moving | ~pending, "array: the pipeline moves while an item is inside")
        m.d.comb += self.busy.eq(follows | active | pending | drain.busy)

        reasons = Cat(self.issue, self.no_task, self.no_weights, self.no_operands, self.drain_full)
        check(m, (reasons & (reasons - 1) == 0) & reasons.any(), "array: useful work, or one thing that is missing")
        check(m, ~accept | active & here & room & fresh,
              "array: an item is taken for a task whose operands are there, and room for its results")
        check(m, ~again | active, "array: an item that is used again has a task")
        check(m, ~(again & fresh), "array: an item is taken or used again")
        check(m, ~valids[latency.result] | pending, "array: what leaves the pipeline has entered it")
        with m.If(next_task & follows):
            check(m, following.kblocks != 0, "array: a task has k-blocks")
            check(m, following.address + following.kblocks <= operand_depth(config),
                  "array: a task's operands are in the buffer")
        return m
