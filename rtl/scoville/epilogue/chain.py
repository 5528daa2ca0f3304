"""The epilogue chain: everything that happens to an output row between the array and the quantiser."""

from functools import reduce
from operator import or_

import numpy as np
from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from scoville.array.drain import drain_row
from scoville.checks import check, check_stream
from scoville.config import BLOCK
from scoville.isa import Mode
from scoville.numerics import fp32
from scoville.numerics.pipe import Pipe
from scoville.slices import Skid, StreamSlice

from . import pair, squares
from .norm import RmsUnit
from .pair import PairStage
from .squares import SumOfSquares
from .vectors import READ_LATENCY, bias_port, embed_layout, norm_port, rope_port

__all__ = ["Chain", "ChainSource", "LaneScale", "chain_command", "model_rows"]


class ChainSource(enum.Enum, shape=1):
    ARRAY = 0
    EMBED = 1


class LaneScale(enum.Enum, shape=2):
    NONE = 0
    RMS = 1  # the lane's 1/rms, from the last command with `norm`
    ATTENTION = 2  # the lane's 1/l, from the softmax unit


def chain_command(config):
    """Layout of a command: one instruction's rows, or one token's embedding row, or those of a phase."""
    return data.StructLayout({
        "source": ChainSource,
        "rows": 24,  # input rows, even
        "mask": config.seats,  # seats that store the residual, and whose 1/rms is computed
        "first_phase": range(config.phases),  # of every 32 rows, these come in turn
        "last_phase": range(config.phases),
        "lane_scale": LaneScale,
        "bias": 1,
        "mode": Mode,
        "residual_add": 1,
        "residual_store": 1,
        "norm": 1,
        "head_blocks": 4,  # ROPE: pairs repeat every head_blocks * 16
        "logits": 1,  # the rows go to `logits`
        "limit": 24,  # logits: rows from this one on are padding, and dropped
        "inv_n": 32,
        "epsilon": 32,
    })


class Chain(wiring.Component):
    """Scales, biases, pairs, adds the residual and applies the norm weight, on rows of T lanes in lockstep.

    ::

        i ──┬─ mul ─ add ─ pair stage ─ add ─┬─ mul ─┬─ o
        embed  scale  bias  RoPE, GLU  resid.│  w_norm└─ logits
                                             └─ mul ─ sum of squares ─ 1/rms

    In numbers, each step one FP32 rounding: see `model_rows`, and "Chain" in ``docs/design.md``. What a command does
    not use is an identity: times 1.0, plus 0, a rotation by (1, 0).

    Throughput: one row a cycle; with `norm` behind every 32 rows a pause, in which their squares are summed.
    Latency of a plain row: 24 cycles. Plain commands follow each other in the pipeline; one that touches the
    residual, the norm or the logits starts when the rows before it have left. One that needs 1/rms waits for it.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    command : In(stream(chain_command))
    i : In(stream(drain_row)), the array's rows, in order: 32 of each phase, then the next 32; only `values` counts
    embed : In(stream(embed_layout)), words of an embedding row, or with more slots than one of the lanes' rows
    factor : In(stream(FP32[seats])), 1/l; one item for each command with ``lane_scale = ATTENTION``
    o : Out(stream(FP32[T])), to the quantiser
    logits : Out(stream(FP32[T])), to the sampler
    bias, norm, rope : read ports of the vector unit
    busy : a command runs, or its rows are in the pipeline; the computation of 1/rms does not count
    clipped : Out(1), a row is taken from the array in which a lane of the mask has the largest finite value
    """

    def __init__(self, config):
        self.config = config
        values = data.ArrayLayout(32, config.lanes)
        super().__init__({
            "command": In(stream.Signature(chain_command(config))),
            "i": In(stream.Signature(drain_row(config))),
            "embed": In(stream.Signature(embed_layout(config))),
            "factor": In(stream.Signature(data.ArrayLayout(32, config.seats))),
            "o": Out(stream.Signature(values)),
            "logits": Out(stream.Signature(values)),
            "bias": Out(bias_port(config)),
            "norm": Out(norm_port(config)),
            "rope": Out(rope_port(config)),
            "busy": Out(1),
            "clipped": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.pair = pairs = PairStage(self.config)
        m.submodules.rms = rms = RmsUnit(self.config)

        command = Signal(chain_command(self.config))
        running = Signal()
        front_busy = self._front(m, command, running, pairs, rms)
        back_busy = self._back(m, command, pairs, rms)

        # a command starts when it cannot meet rows of another that uses what the back half shares
        new = self.command.payload
        flowing = front_busy | pairs.busy | back_busy
        attention = new.lane_scale == LaneScale.ATTENTION
        start = Signal()
        m.d.comb += [
            self.command.ready.eq(~running & (~flowing | (is_plain(command) & is_plain(new)))
                                  & ~((new.lane_scale == LaneScale.RMS) & rms.busy)
                                  & ~(attention & ~self.factor.valid)),
            start.eq(self.command.valid & self.command.ready),
            self.factor.ready.eq(start & attention),
            self.busy.eq(running | flowing),
        ]
        with m.If(start):
            m.d.sync += [command.eq(new), running.eq(1)]
            check(m, (new.rows != 0) & ~new.rows[0], "chain: a command has rows, an even number")
        check(m, ~self.factor.ready | self.factor.valid, "chain: a factor is taken when it is there")
        check_stream(m, self.o, "chain: o")
        check_stream(m, self.logits, "chain: logits")
        return m

    def _front(self, m, command, running, pairs, rms):
        """Scale and bias, up to the pair stage; returns whether rows are inside."""
        lanes = range(self.config.lanes)
        new = self.command.payload
        enable, admit, from_embed = Signal(), Signal(), Signal()
        pipe = Pipe(m, enable, occupied=Signal(name="occupied"))

        # rows and rotation pairs are counted here
        row = Signal(24)
        phase = Signal(range(self.config.phases))
        turn = Signal(range(self.config.max_head_blocks * BLOCK // 2))
        scale = Signal(data.ArrayLayout(data.ArrayLayout(32, self.config.lanes), self.config.phases), reset_less=True)
        m.d.comb += [
            from_embed.eq(command.source == ChainSource.EMBED),
            admit.eq(running & enable & Mux(from_embed, self.embed.valid, self.i.valid)),
            self.i.ready.eq(running & enable & ~from_embed),
            self.embed.ready.eq(running & enable & from_embed),
            self.clipped.eq(self.i.valid & self.i.ready & (command.mask.word_select(phase, len(lanes))
                                                                  & fp32.clipped(self.i.payload.values)).any()),
        ]
        with m.If(admit & ~from_embed):
            check(m, (self.i.payload.row == row[:5]) & (self.i.payload.phase == phase),
                  "chain: rows come in the order in which they are counted")
        with m.If(admit):
            m.d.sync += row.eq(row + 1)
            with m.If(row[0]):
                m.d.sync += turn.eq(Mux(turn == (command.head_blocks << 4) - 1, 0, turn + 1))
            more = phase != command.last_phase
            with m.If(row[:5].all()):
                m.d.sync += phase.eq(Mux(more, phase + 1, command.first_phase))
                with m.If(more):  # the same 32 rows of the next phase
                    m.d.sync += [row.eq(row & ~31), turn.eq(turn & ~15)]
            with m.If((row == command.rows - 1) & ~more):
                m.d.sync += running.eq(0)
        with m.If(~running):
            m.d.sync += [row.eq(0), turn.eq(0), phase.eq(new.first_phase)]
            for number in range(self.config.phases):
                for lane in lanes:
                    with m.Switch(new.lane_scale):
                        with m.Case(LaneScale.RMS):
                            m.d.sync += scale[number][lane].eq(rms.scale[number * len(lanes) + lane])
                        with m.Case(LaneScale.ATTENTION):
                            m.d.sync += scale[number][lane].eq(self.factor.payload[number * len(lanes) + lane])
                        with m.Default():
                            m.d.sync += scale[number][lane].eq(fp32.constant(1.0))

        results = []
        use_bias, mode = pipe.input(command.bias), pipe.input(command.mode)
        turning = pipe.input(command.mode == Mode.ROPE)
        for lane in lanes:
            word = self.embed.payload if self.config.slots == 1 else self.embed.payload[lane]
            value = pipe.input(Mux(from_embed, word, self.i.payload.values[lane]))
            value = fp32.mul(pipe, value, pipe.input(scale[phase][lane]))
            bias = Mux(pipe.delay(use_bias, value.at), self.bias.data, 0)
            bias_at = value.at
            results.append(fp32.add(pipe, value, pipe.input(bias, bias_at)))
        at = results[0].at
        valids = pipe.occupy(admit, at)
        counted, turned, phased = pipe.input(row), pipe.input(turn), pipe.input(phase)

        m.submodules.front_slice = front = StreamSlice(pairs.i.payload.shape())
        wiring.connect(m, front.o, pairs.i)
        item = front.i.payload
        m.d.comb += [
            self.bias.enable.eq(enable),
            self.bias.address.eq(pipe.delay(counted, bias_at - READ_LATENCY)[:len(self.bias.address)]),
            self.rope.enable.eq(enable),
            self.rope.address.pair.eq(pipe.delay(turned, at - READ_LATENCY)),
            self.rope.address.phase.eq(pipe.delay(phased, at - READ_LATENCY)),
            item.row.eq(pipe.delay(counted, at)),
            item.phase.eq(pipe.delay(phased, at)),
            item.mode.eq(pipe.delay(mode, at)),
            front.i.valid.eq(valids[-1]),
            enable.eq(front.i.ready),
        ]
        for lane in lanes:
            turns = pipe.delay(turning, at)
            m.d.comb += [
                item.v[lane].eq(results[lane].value),
                item.cos[lane].eq(Mux(turns, self.rope.data[lane].cos, fp32.constant(1.0))),
                item.sin[lane].eq(Mux(turns, self.rope.data[lane].sin, 0)),
            ]
        return pipe.occupied | front.o.valid

    def _back(self, m, command, pairs, rms):
        """Residual, squares and norm weight, behind the pair stage; returns whether rows are inside."""
        config = self.config
        lanes = range(config.lanes)
        enable, accept = Signal(), Signal()
        pipe = Pipe(m, enable, occupied=Signal(name="occupied"))
        entering = pairs.o.payload
        row, phase = pipe.input(entering.row), pipe.input(entering.phase)
        m.submodules.residual = memory = Memory(
            shape=data.ArrayLayout(32, config.lanes), depth=config.phases * config.max_hidden, init=[])
        reader, writer = memory.read_port(), memory.write_port(granularity=1)
        address = len(reader.addr) - exact_log2(config.phases)

        values, outputs, squared = [], [], []
        for lane in lanes:
            # The memory is read while the row is in the pair stage's last stage, so that its data has a register.
            residual = pipe.reg(Mux(command.residual_add, entering.beside[lane], 0), 0)
            value = fp32.add(pipe, pipe.input(entering.v[lane]), residual)
            weight = pipe.input(Mux(command.norm, self.norm.data, fp32.constant(1.0)), value.at)
            values.append(value)
            outputs.append(fp32.mul(pipe, value, weight))
            squared.append(fp32.mul(pipe, value, value))
        stored, out, summed = values[0].at, outputs[0].at, squared[0].at
        valids = pipe.occupy(accept, max(out, summed))

        # Squares: behind the last row of a tile none comes until the tile has been added
        m.submodules.squares = sums = SumOfSquares(config)
        last_row = Mux(command.mode == Mode.GLU, command.rows >> 1, command.rows) - 1
        last = pipe.input(entering.row == last_row)
        final = pipe.input((entering.row == last_row) & (entering.phase == command.last_phase))
        folding, pending = Signal(), Signal()
        m.d.comb += [
            sums.i_valid.eq(enable & valids[summed - 1] & command.norm),
            sums.i.row.eq(pipe.delay(row, summed)), sums.i.phase.eq(pipe.delay(phase, summed)),
            sums.i.last.eq(pipe.delay(last, summed)), sums.i.final.eq(pipe.delay(final, summed)),
            *(sums.i.squares[lane].eq(squared[lane].value) for lane in lanes),
        ]
        with m.If(accept & command.norm & entering.row[:5].all()):
            m.d.sync += folding.eq(1)
        with m.Elif(sums.done):
            m.d.sync += folding.eq(0)
        with m.If(sums.complete):
            m.d.sync += pending.eq(1)
            check(m, ~pending, "chain: sums of squares are handed over before others are complete")
        with m.Elif(rms.i.ready):
            m.d.sync += pending.eq(0)

        # outputs; commands with `logits` share the pipeline with no other, so what waits is of the command's kind
        m.submodules.back_skid = skid = Skid(self.o.payload.shape())
        within = pipe.delay(pipe.reg(pipe.delay(row, out - 1) < command.limit, out - 1), out)
        m.d.comb += [
            rms.i.valid.eq(pending),
            rms.i.payload.total.as_value().eq(sums.total),
            rms.i.payload.mask.eq(command.mask),
            rms.i.payload.inv_n.eq(command.inv_n),
            rms.i.payload.epsilon.eq(command.epsilon),
            pairs.beside.eq(reader.data),
            pairs.o.ready.eq(enable & ~folding),
            accept.eq(pairs.o.valid & pairs.o.ready),
            reader.en.eq(pairs.moves),
            reader.addr.eq(Cat(pairs.coming.row[:address], pairs.coming.phase)),
            writer.addr.eq(Cat(pipe.delay(row, stored)[:address], pipe.delay(phase, stored))),
            writer.en.eq(Mux(enable & valids[stored - 1] & command.residual_store,
                             command.mask.word_select(pipe.delay(phase, stored), len(lanes)), 0)),
            self.norm.enable.eq(enable),
            self.norm.address.eq(pipe.delay(row, stored - READ_LATENCY)[:len(self.norm.address)]),
            skid.i.valid.eq(valids[out - 1] & (~command.logits | within)),
            enable.eq(skid.i.ready),
            self.o.valid.eq(skid.o.valid & ~command.logits),
            self.logits.valid.eq(skid.o.valid & command.logits),
            self.o.payload.eq(skid.o.payload),
            self.logits.payload.eq(skid.o.payload),
            skid.o.ready.eq(Mux(command.logits, self.logits.ready, self.o.ready)),
        ]
        check(m, ~writer.en.any() | (pipe.delay(row, stored) < config.max_hidden),
              "chain: the residual buffer has the row")
        for lane in lanes:
            m.d.comb += [
                writer.data[lane].eq(values[lane].value),
                skid.i.payload[lane].eq(outputs[lane].value),
            ]
        return pipe.occupied | skid.full | folding | pending


def is_plain(command):
    """Whether a command shares nothing but the pipeline with its neighbours."""
    return ~reduce(or_, (command.residual_add, command.residual_store, command.norm, command.logits))


def model_rows(v, *, scale=None, bias=None, mode=Mode.PLAIN, cos=None, sin=None, residual=None, store=False,
               weight=None):
    """The chain on one command.

    Parameters
    ----------
    v : float32[rows, T], accumulators or embedding values
    scale : float32[T] or None, the lanes' 1/rms or 1/l
    bias : float32[rows] or None
    mode, cos, sin : as in `pair.model`
    residual : float32[>= output rows, T] or None, added
    store : whether the sum is a new residual
    weight : float32[>= output rows] or None, the norm weights

    Returns
    -------
    out : float32[output rows, T], for the quantiser or the sampler
    residual : float32[output rows, T], the new residual, or None without `store`
    total : float32[T], the sums of squares, or None without `weight`
    """
    f = fp32.model
    v = f.flush(v) if scale is None else f.mul(v, scale)
    if bias is not None:
        v = f.add(v, np.asarray(bias)[: len(v), None])
    v = pair.model(v, mode, cos, sin)
    if residual is not None:
        v = f.add(v, residual[: len(v)])
    kept = v if store else None
    if weight is None:
        return v, kept, None
    return f.mul(v, np.asarray(weight)[: len(v), None]), kept, squares.model(v)
