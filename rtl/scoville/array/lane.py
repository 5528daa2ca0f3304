"""The lane: R dot units that share an activation block, and their accumulators."""

from amaranth.hdl import Cat, Const, Module, Mux, signed
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from scoville.array.dot_unit import (
    dot_latency,
    dot_products,
    factor_age,
    minimum_layout,
    part_of_slice,
    scale_layout,
    scaled_term,
)
from scoville.numerics import block, fp32
from scoville.numerics.block import block_layout
from scoville.numerics.pipe import Pipe

__all__ = ["ADD_LATENCY", "Accumulate", "Lane", "Latencies", "accumulator_tiles"]

ADD_LATENCY = 4
READ_STAGES = 3  # registers between an accumulator's address and its adder


class Latencies:
    """When each part of an item must reach a lane, in cycles after the item's last slice.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    scale : the exact dot product is there, and wants its scale and minimum
    read : the accumulator is read, `early` cycles before its adder wants it
    rescale : it is cleared or rescaled, and wants the control for that
    accumulate : the term is there, and wants its accumulator
    result : the new accumulator value is there
    """

    def __init__(self, config):
        # scale_mul, add of the minimum, scale2
        self.scale = dot_latency(config)
        self.accumulate = self.scale + block.SCALE_MUL_LATENCY + ADD_LATENCY + 1
        self.result = self.accumulate + ADD_LATENCY
        # An accumulator comes back to its adder after interleave * block_cycles cycles. Where that is long enough,
        # the memory, its data and the rescaled value have registers; where it is not, the sum is forwarded.
        distance = config.interleave * config.block_cycles
        assert distance >= ADD_LATENCY
        self.early = READ_STAGES if distance > ADD_LATENCY + READ_STAGES else 0
        self.read = self.accumulate - self.early
        self.rescale = self.accumulate - (self.early > 0)


class Accumulate(data.Struct):
    """What a lane does with an accumulator before it adds."""

    clear: 1
    shift: 8


def rescaled(value, shift):
    """value * 2^-shift, combinational, as `fp32.scale2`."""
    field = value[23:31] - shift
    assert field.shape() == signed(9)
    return Mux(field > 0, Cat(value[:23], field[:8], value[31]), Const(0, 32))


def accumulator_tiles(config):
    """Tiles that can be in progress: the dimension blocks of a head, and the scores of a page between them."""
    return config.max_head_blocks + 1


class Lane(wiring.Component):
    """R dot units on one activation block, each with accumulators for `accumulator_tiles` tiles of every phase.

    Per item and row: acc = (clear ? 0 : acc * 2^-shift) + (dot * scale + sum * minimum) * 2^(e8 - 127), roundings as in
    the numerics contract. The pipeline moves while an item is inside. Codes and block are taken a slice a cycle;
    scales, control and write come at the ages that `Latencies` gives, so that lanes share the registers that delay
    them.
    Throughput: an item in `block_cycles` cycles; an accumulator may be used again after `interleave` items.
    Latency: `Latencies.result`.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    enable : In(1), the pipeline moves
    slice : In, number of this cycle's slice of the item
    codes : In, `dot_width` codes of each row, `factor_age` cycles after their slice's number
    block : In, the activation block, stable for all slices of an item
    scale, minimum : In, one `scale_layout` and `minimum_layout` a row, `Latencies.scale` cycles after the last slice
    read : In, accumulator address, `Latencies.read` cycles after the last slice
    control : In(Accumulate), `Latencies.rescale` cycles after the last slice
    write_en, write : In, accumulator to write, `Latencies.result` cycles after the last slice
    values : Out, the new accumulators, with `write`
    """

    def __init__(self, config):
        self.config = config
        self.depth = config.interleave * config.phases * accumulator_tiles(config)
        super().__init__({
            "enable": In(1),
            "slice": In(range(max(2, config.block_cycles))),
            "codes": In(data.ArrayLayout(data.ArrayLayout(signed(8), config.dot_width), config.rows)),
            "block": In(block_layout(config.act_bits)),
            "scale": In(data.ArrayLayout(scale_layout(config), config.rows)),
            "minimum": In(data.ArrayLayout(minimum_layout(config), config.rows)),
            "read": In(range(self.depth)),
            "control": In(Accumulate),
            "write_en": In(1),
            "write": In(range(self.depth)),
            "values": Out(data.ArrayLayout(32, config.rows)),
        })

    def elaborate(self, platform):
        m = Module()
        config, latency = self.config, Latencies(self.config)
        pipe = Pipe(m, self.enable)

        # Dot products and terms
        first, second = part_of_slice(config, self.slice)
        first, second = pipe.input(first), None if second is None else pipe.input(second)
        total, e8 = pipe.input(self.block.sum), pipe.input(self.block.e8)
        if config.block_cycles > 1:
            q = data.ArrayLayout(signed(config.act_bits), config.dot_width)
            q = q(self.block.q.as_value().word_select(self.slice, q.size))
        else:
            q = self.block.q
        q = [pipe.delay(pipe.input(q[j]), factor_age(config)) for j in range(config.dot_width)]
        terms = []
        for row in range(config.rows):
            codes = [self.codes[row][j] for j in range(config.dot_width)]
            dots = dot_products(pipe, config, codes, q, first, second)
            assert dots[0].at == latency.scale
            terms.append(scaled_term(pipe, dots, total, e8, pipe.input(self.scale[row], latency.scale),
                                     pipe.input(self.minimum[row], latency.scale)))
            assert terms[row].at == latency.accumulate

        # Accumulators
        shape = data.ArrayLayout(32, config.rows)
        m.submodules.accumulators = accumulators = memory.Memory(shape=shape, depth=self.depth, init=[])
        write = accumulators.write_port()
        read = accumulators.read_port(domain="sync" if latency.early else "comb")
        m.d.comb += [
            write.addr.eq(self.write),
            write.data.eq(self.values),
            write.en.eq(self.write_en),
            read.addr.eq(self.read),
        ]
        forward = pipe.wire(self.write_en & (self.write == self.read))
        for row in range(config.rows):
            if latency.early:
                old = pipe.delay(pipe.input(read.data[row], latency.read + 1), latency.rescale)
            else:
                old = Mux(forward, self.values[row], read.data[row])
            old = Mux(self.control.clear, 0, rescaled(old, self.control.shift))
            old = pipe.reg(old, latency.rescale) if latency.early else pipe.input(old, latency.rescale)
            result = fp32.add(pipe, old, terms[row])
            assert result.at == latency.result
            m.d.comb += self.values[row].eq(result.value)
        return m
