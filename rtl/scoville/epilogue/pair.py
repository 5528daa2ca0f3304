"""The pair stage: rows 2j and 2j+1 leave the array side by side and meet here, as a rotation pair or as gate and up."""

import numpy as np
from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from scoville.checks import check, check_stream
from scoville.isa import Mode
from scoville.numerics import fp32, sigmoid
from scoville.numerics.pipe import Pipe
from scoville.slices import Skid

__all__ = ["PairStage", "model"]


class PairStage(wiring.Component):
    """Rotates pairs (ROPE), gates them (GLU), or lets rows pass (PLAIN), T lanes in lockstep.

    ROPE, rows (a, b) and the pair's (c, s)::

        o[2j]   = add(mul(a, c), -mul(b, s))
        o[2j+1] = add(mul(a, s), mul(b, c))

    GLU, rows (g, u): ``o[j] = mul(mul(g, sigmoid(g)), u)``. PLAIN is the rotation by (1, 0), which changes no bit.
    Every operation is FP32 with one rounding.

    One row a cycle in every mode. Latency 8 cycles from a row (ROPE: from the pair's second row); GLU: 31 from a
    pair's second row, 30 with one lane. Rows of GLU and of other modes never overtake: a row of the one kind waits
    at the input until those of the other have left. Two lanes share a sigmoid, since a pair has two cycles.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    i : In(stream({row, phase, mode, v[T], cos[T], sin[T]})), rows from an even one on, one command's in order;
        `cos` and `sin` count on the odd rows of ROPE; with PLAIN they are 1 and 0.
    o : Out(stream({row, phase, v[T], beside})), `row` is the output row: row / 2 for GLU; `phase` is that of its rows.
    moves : Out(1), rows move; `coming` : Out({row, phase}), which leaves after the next of these cycles, if valid
    beside : In(FP32[T]), what goes with the row that leaves now
    busy : results are on their way.
    """

    def __init__(self, config):
        self.lanes = config.lanes
        self.phase = range(config.phases)
        self.values = values = data.ArrayLayout(32, config.lanes)
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({"row": 24, "phase": self.phase, "mode": Mode, "v": values,
                                                        "cos": values, "sin": values}))),
            "o": Out(stream.Signature(data.StructLayout(
                {"row": 24, "phase": self.phase, "v": values, "beside": values}))),
            "beside": In(values),
            "moves": Out(1),
            "coming": Out(data.StructLayout({"row": 24, "phase": self.phase})),
            "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        row = self.i.payload
        enable = Signal()
        # Whether a kind is at work is known from registers, as all else waits for it.
        turn_busy, glu_busy = Signal(), Signal()

        # the issue registers: a pair, its rotation, and which of its results is computed now
        first, second = Signal(), Signal()
        rotates = Signal()  # `first`, of a rotation
        mode = Signal(Mode, reset_less=True)
        index = Signal(24, reset_less=True)
        phase = Signal(self.phase, reset_less=True)
        even, x, y, cos, sin = (Signal(self.values, name=name, reset_less=True)
                                for name in ("even", "x", "y", "cos", "sin"))
        accept = Signal()
        complete = (row.mode == Mode.PLAIN) | row.row[0]
        m.d.comb += accept.eq(self.i.valid & self.i.ready)
        with m.If(enable):
            m.d.sync += [first.eq(accept & complete), second.eq(rotates),
                         rotates.eq(accept & complete & (row.mode == Mode.ROPE))]
            with m.If(second):
                m.d.sync += index.eq(index | 1)
            with m.If(rotates):  # the pair's other result wants them the other way round
                m.d.sync += [cos.eq(sin), sin.eq(cos)]
        with m.If(accept):
            with m.If(~row.row[0]):
                m.d.sync += even.eq(row.v)
            with m.If(complete):
                m.d.sync += [mode.eq(row.mode), phase.eq(row.phase), x.eq(even), y.eq(row.v)]
                m.d.sync += index.eq(Mux(row.mode == Mode.GLU, row.row >> 1, row.row))
                m.d.sync += [cos.eq(row.cos), sin.eq(row.sin)]
                with m.If(row.mode == Mode.ROPE):
                    m.d.sync += index.eq(row.row & ~1)
                with m.If(row.mode == Mode.PLAIN):
                    m.d.sync += x.eq(row.v)

        gated = mode == Mode.GLU
        turn_in, gate_in = (first & ~gated) | second, first & gated
        place, turned_place = Cat(index, phase), Cat(index | second, phase)
        rotation, gate = (Pipe(m, enable, occupied=busy) for busy in (turn_busy, glu_busy))
        turned, turn_valids, turn_place = self._rotation(rotation, x, y, cos, sin, turned_place, second, turn_in)
        product, glu_valids, glu_place = self._gate(m, gate, x, y, place, gate_in)
        turn_valid, glu_valid = turn_valids[-1], glu_valids[-1]
        now_gated = row.mode == Mode.GLU
        with m.If(enable):
            m.d.sync += [
                turn_busy.eq((accept & complete & ~now_gated) | rotates | turn_in | turn_valids[:-1].any()),
                glu_busy.eq((accept & complete & now_gated) | gate_in | glu_valids[:-1].any()),
            ]
        blocked = Mux(now_gated, turn_busy, glu_busy | ((row.mode == Mode.PLAIN) & rotates))
        m.submodules.skid = skid = Skid(self.o.payload.shape())
        wiring.connect(m, skid.o, wiring.flipped(self.o))
        m.d.comb += [
            skid.i.valid.eq(turn_valid | glu_valid),
            skid.i.payload.eq(Cat(Mux(glu_valid, product, turned), self.beside)),
            enable.eq(skid.i.ready),  # a register, as it moves everything
            self.moves.eq(enable),
            self.coming.eq(Mux(gated, glu_place, turn_place)),
            self.i.ready.eq(enable & ~blocked),
            self.busy.eq(turn_busy | glu_busy | skid.full),
        ]
        check(m, ~(turn_valid & glu_valid), "pair: rotations and gates do not meet at the output")
        check(m, ~(rotates & accept & complete), "pair: a rotation's second result has its cycle")
        check_stream(m, self.o, "pair: o")
        return m

    def _rotation(self, pipe, x, y, cos, sin, index, second, valid):
        """(packed output, valid bits by age, what `index` will be in the next output)."""
        results = []
        swap = pipe.input(second)
        for lane in range(self.lanes):
            left = fp32.mul(pipe, pipe.input(x[lane]), pipe.input(cos[lane]))
            right = fp32.mul(pipe, pipe.input(y[lane]), pipe.input(sin[lane]))
            # A zero whose sign is turned is one all the same to the adder.
            flip = ~pipe.delay(swap, right.at)
            right = pipe.input(Cat(right.value[:31], right.value[31] ^ flip), right.at)
            results.append(fp32.add(pipe, left, right))
        at = results[0].at
        valids, index = pipe.valids(valid, at), pipe.input(index)
        return Cat(pipe.delay(index, at), *(r.value for r in results)), valids, pipe.delay(index, at - 1)

    def _gate(self, m, pipe, x, y, index, valid):
        """As `_rotation`. The pairs wait for their sigmoid in a small memory, not in a chain of registers."""
        lanes = self.lanes
        shared = lanes > 1
        gates = []
        turn = pipe.reg(valid, 0)  # the second lane of two goes one cycle later, while x is still there
        for lane in range(0, lanes, 2):
            g = Mux(turn.value, x[lane + 1], x[lane]) if shared else x[lane]
            result = sigmoid.sigmoid(pipe, pipe.input(g))
            gates += [pipe.reg(result.value, result.at), result] if shared else [result]
        at = result.at + shared
        m.submodules.waiting = waiting = Memory(
            shape=len(index) + 64 * lanes, depth=1 << (at // 2 + 2).bit_length(), init=[])
        writer, reader = waiting.write_port(), waiting.read_port()
        valids = pipe.valids(valid, at + 6)
        m.d.comb += [
            writer.en.eq(valid & pipe.enable),
            writer.data.eq(Cat(index, x, y)),
            reader.en.eq(pipe.enable),
        ]
        with m.If(pipe.enable):
            m.d.sync += [writer.addr.eq(writer.addr + valid), reader.addr.eq(reader.addr + valids[at - 2])]
        check(m, ~writer.en | ((writer.addr + 1)[:len(writer.addr)] != reader.addr),
              "pair: a pair that waits is not written over")
        waited = data.View(data.StructLayout({"index": len(index), "x": self.values, "y": self.values}), reader.data)
        results = []
        for lane, gate in enumerate(gates):
            gate = pipe.input(gate.value, at)
            swish = fp32.mul(pipe, pipe.input(waited.x[lane], at), gate)
            results.append(fp32.mul(pipe, swish, pipe.input(waited.y[lane], at)))
        assert results[0].at == at + 6
        index = pipe.input(waited.index, at)
        return Cat(pipe.delay(index, at + 6), *(r.value for r in results)), valids, pipe.delay(index, at + 5)


def model(v, mode, cos=None, sin=None):
    """The stage on whole commands.

    Parameters
    ----------
    v : float32[rows, T]
    mode : Mode
    cos, sin : float32[pairs, T], ROPE: the pairs of one head; row 2j uses pair j mod pairs.

    Returns
    -------
    float32[rows, T], or [rows / 2, T] for GLU
    """
    if mode == Mode.PLAIN:
        return fp32.model.flush(v)
    f, first, second = fp32.model, v[0::2], v[1::2]
    if mode == Mode.GLU:
        return f.mul(f.mul(first, sigmoid.model.sigmoid(first)), second)
    pair = np.arange(len(first)) % len(cos)
    c, s = cos[pair], sin[pair]
    turned = np.empty_like(v)
    turned[0::2] = f.add(f.mul(first, c), f.neg(f.mul(second, s)))
    turned[1::2] = f.add(f.mul(first, s), f.mul(second, c))
    return turned
