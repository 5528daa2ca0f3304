"""The dot unit: 32 activations times 32 weights, exactly, then the two block scales."""

import numpy as np
from amaranth.hdl import Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from scoville.config import BLOCK
from scoville.numerics import block, fp32
from scoville.numerics.block import Scale, block_layout
from scoville.numerics.pipe import Pipe, width_of

__all__ = ["DotUnit", "dot_latency", "dot_products", "factor_age", "linear", "minimum_layout", "part_of_slice",
           "scale_layout", "scaled_term", "tree"]

TREE_LEVELS = 3  # adder levels between registers, at most


def tree(values):
    """The sum of HDL values as a balanced tree, so that it is log2(n) bits wider than a value, not n - 1."""
    values = list(values)
    while len(values) > 1:
        values = [a + b for a, b in zip(values[::2], values[1::2], strict=True)]
    return values[0]


def factor_age(config):
    """How old factors are at the multipliers: they come from a register, as their memory is slow, or meet one there."""
    return int(config.product_stages == 1)


def dot_latency(config):
    """Cycles from the last slice of a block to its exact sum: products, tree, and the sum over slices."""
    levels = config.dot_width.bit_length() - 1
    return factor_age(config) + config.product_stages + -(-levels // TREE_LEVELS) + (config.block_cycles > 1)


def parts_of(config):
    """Parts of a block with a scale of their own: its halves, where a configuration has weights of such."""
    return 2 if config.k_quants else 1


def scale_layout(config):
    """Layout of a row's scales, one a part of the block."""
    return block.products_layout(2, 8) if config.k_quants else Scale


def minimum_layout(config):
    """Layout of a row's minimum."""
    return block.products_layout(1, 7) if config.k_quants else Scale


def part_of_slice(config, index):
    """Of a slice by its number: whether it is its part's first, and whether that is the second (None: the only)."""
    if parts_of(config) == 1 or config.block_cycles == 1:
        return index == 0, None
    return index[:-1] == 0, index[-1]


def dot_products(pipe, config, codes, q, first, second=None):
    """The exact integer sums of codes * q over a block's parts, one slice of `dot_width` products a cycle.

    Parameters
    ----------
    pipe : Pipe
    config : ChipConfig
    codes, q : lists of `dot_width` signed HDL values of `factor_age`
    first : Staged, 1 in a part's first slice
    second : Staged, 1 in the slices of the second part

    Returns
    -------
    list of Staged : the sums, of age `dot_latency(config)` counted from the last slice
    """
    start, parts = factor_age(config), parts_of(config)
    products = [pipe.product(a, b, start, config.product_stages).value for a, b in zip(codes, q, strict=True)]
    side_by_side = parts if config.block_cycles == 1 else 1
    totals = []
    for index in range(side_by_side):
        size = len(products) // side_by_side
        terms, at = products[index * size:(index + 1) * size], start + config.product_stages
        while len(terms) > 1:
            levels = exact_log2(len(terms))
            step = 1 << -(-levels // -(-levels // TREE_LEVELS))  # few registers, the levels shared out evenly
            terms = [pipe.reg(tree(terms[i:i + step]), at).value for i in range(0, len(terms), step)]
            at += 1
        totals.append(terms[0])
    # |code * q| <= 2^7 * (2^(act_bits - 1) - 1), so 32 of them are below 2^(act_bits + 11), one bit less than a tree's.
    bits = config.act_bits + 13 - parts
    assert width_of(totals[0]) + exact_log2(max(1, config.block_cycles // parts)) == bits + 1
    if config.block_cycles == 1:
        return [pipe.input(total[:bits].as_signed(), at) for total in totals]
    sums = []
    for part in range(parts):
        running = Signal(signed(bits), reset_less=True, name="running")
        begins, ours = pipe.delay(first, at), 1 if second is None else pipe.delay(second, at) == part
        with pipe.m.If(pipe.enabled(at) & ours):
            pipe.m.d.sync += running.eq(Mux(begins, 0, running) + totals[0])
        sums.append(pipe.input(running, at + 1))
    return sums


def scaled_term(pipe, dots, activations, e8, scale, minimum):
    """What a block adds to the accumulator: (dot * scale + sum * minimum) * 2^(e8 - 127), as FP32; of a block with two
    parts the sum of both parts' dot * scale, rounded once.

    A zero minimum adds +0, which changes no FP32 value, so blocks without minimums take the same way.

    Parameters
    ----------
    pipe : Pipe
    dots : list of Staged, the exact dot product of each part
    activations, e8 : Staged, the sum of the activation block, and its exponent byte
    scale, minimum : Staged of `scale_layout` and `minimum_layout`
    """
    # Integers and scales are narrower than products, so they are what waits for the dot product.
    ready = dots[0].at
    activations, scale, minimum = (pipe.input(pipe.delay(x, ready), ready) for x in (activations, scale, minimum))
    if len(dots) == 1:
        product, least = block.scale_mul(pipe, *dots, scale), block.scale_mul(pipe, activations, minimum)
    else:
        product, least = block.scale_sum(pipe, dots, scale), block.scale_sum(pipe, [activations], minimum)
    product = fp32.add(pipe, product, least)
    at = product.at
    exponent = pipe.input(pipe.delay(e8, at) - Const(127, 8), at)
    return fp32.scale2(pipe, product, exponent)


def linear(codes, scales, minimums, q, e8, sums, acc=None):
    """The outputs of N rows for T lanes over K blocks, in the order of roundings of the numerics contract.

    Parameters
    ----------
    codes : int8 or float32 [K, N, 32], weight codes after the code table; float64, times the integers of their scales
        (what a dot product is then may have more bits than FP32 holds, and is rounded with its scale)
    scales : float32 [K, N]
    minimums : float32 [K, N], or None
    q : integers [K, T, 32], activation codes
    e8 : integers [K, T], exponent bytes
    sums : integers [K, T], sums of `q`
    acc : float32 [N, T] to start from, or None for zeros

    Returns
    -------
    float32 [N, T]
    """
    f32 = fp32.model
    wide = codes.dtype == np.float64
    q = np.asarray(q, np.float64 if wide else np.float32)
    sums = np.asarray(sums, np.float32)
    exponents = np.asarray(e8, np.int64) - 127
    acc = np.zeros((codes.shape[1], q.shape[1]), np.float32) if acc is None else acc
    for k in range(codes.shape[0]):
        # Every partial sum is an integer below 2^24, or of wide ones 2^53, so a product of matrices is exact.
        dots = np.asarray(codes[k], q.dtype) @ q[k].T
        term = (block.model.scale_integer if wide else f32.mul)(dots, scales[k][:, None])
        if minimums is not None:
            term = f32.add(term, f32.mul(sums[k][None, :], minimums[k][:, None]))
        acc = f32.add(acc, f32.scale2(term, exponents[k][None, :]))
    return acc


class DotUnit(wiring.Component):
    """One dot unit without its accumulator, as a stream component.

    o = (dot(codes, q) * scale + sum * minimum) * 2^(e8 - 127), FP32, roundings as in `linear`.

    Throughput: a block in `block_cycles` cycles. Latency: `dot_latency` + 10 cycles after the block is taken.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    i : In(stream), codes, scale, minimum, block
    o : Out(stream(32)), FP32
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({
                "codes": data.ArrayLayout(8, BLOCK), "scale": scale_layout(config), "minimum": minimum_layout(config),
                "block": block_layout(config.act_bits)}))),
            "o": Out(stream.Signature(32)),
        })

    @staticmethod
    def model(codes, scale, minimum, q, e8, total):
        """Terms of n blocks: codes [n, 32] (times the integers of their scales), scale, minimum float32 [n], q [n, 32],
        e8 [n], total [n] -> float32 [n].
        """
        f32 = fp32.model
        dots = (np.asarray(codes, np.int64) * np.asarray(q, np.int64)).sum(-1)
        term = f32.add(block.model.scale_integer(dots, scale), f32.mul(np.asarray(total, np.float32), minimum))
        return f32.scale2(term, np.asarray(e8, np.int64) - 127)

    def elaborate(self, platform):
        m = Module()
        cycles, width = self.config.block_cycles, self.config.dot_width
        enable = Signal()
        pipe = Pipe(m, enable)
        index = Signal(range(max(2, cycles)))
        last = Signal()
        m.d.comb += [
            enable.eq(self.o.ready | ~self.o.valid),
            last.eq(index == cycles - 1),
            self.i.ready.eq(enable & last),
        ]
        with m.If(enable & self.i.valid):
            m.d.sync += index.eq(Mux(last, 0, index + 1))
        item = self.i.payload
        size = 8 * width
        codes = item.codes.as_value().word_select(index, size)
        q = item.block.q.as_value().word_select(index, self.config.act_bits * width)
        bits = self.config.act_bits
        age = factor_age(self.config)
        codes, q = (pipe.delay(pipe.input(factors), age) for factors in (codes, q))
        first, second = part_of_slice(self.config, index)
        dots = dot_products(
            pipe, self.config,
            [codes[8 * j:8 * j + 8].as_signed() for j in range(width)],
            [q[bits * j:bits * j + bits].as_signed() for j in range(width)],
            pipe.input(first), None if second is None else pipe.input(second))
        term = scaled_term(pipe, dots, pipe.input(item.block.sum), pipe.input(item.block.e8),
                           pipe.input(item.scale), pipe.input(item.minimum))
        m.d.comb += [
            self.o.payload.eq(term.value),
            self.o.valid.eq(pipe.valid(self.i.valid & last, term.at)),
        ]
        return m
