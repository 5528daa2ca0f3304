"""Latencies of the units, taken from the units: what `cycles` predicts with."""

from dataclasses import dataclass
from functools import cache

from amaranth.hdl import Fragment, Module, Signal, signed
from scoville.array.lane import Latencies as ArrayLatencies
from scoville.attention.softmax import Z_BITS, Z_FRACTION
from scoville.config import BLOCK
from scoville.epilogue.squares import FOLD, MERGE
from scoville.numerics import block, fp32, sigmoid, table
from scoville.numerics.pipe import Pipe

__all__ = ["Latencies", "latencies"]


def _age(function, *inputs):
    """Registers in a pipe function."""
    pipe = Pipe(Module())
    age = function(pipe, *(pipe.input(value) for value in inputs)).at
    Fragment.get(pipe.m, None)  # Amaranth warns of modules that nobody elaborates
    return age


@dataclass(frozen=True, kw_only=True)
class Latencies:
    """Cycles between two events of one row, block or page that nothing holds up.

    Members
    -------
    row : from an item's acceptance by the array to the first row that it finishes, at the drain's output
    pause : behind 32 rows whose squares are summed, a subtree of their sums included
    front, plain, glu, back : stages of the chain: scale and bias; the pair stage, by mode; residual and norm weight
    rms : from the last row with a norm to its 1/rms, without what `squares.MERGE` says of its tiles
    quantise, convert : from a block's last row to its first lane's block in the operand buffer; between lanes
    scores : from the last score of a page to its first exponential
    weigh : from an exponential's issue to the quantiser
    factor : from the last exponential of the last page to 1/l
    sample : from the last logit to the token
    """

    row: int
    pause: int
    front: int
    plain: int
    glu: int
    back: int
    rms: int
    quantise: int
    convert: int
    scores: int
    weigh: int
    factor: int
    sample: int


@cache
def latencies(config):
    """The `Latencies` of a configuration."""
    word, number = Signal(32), Signal(signed(42))
    add, mul = _age(fp32.add, word, word), _age(fp32.mul, word, word)
    scale2 = _age(fp32.scale2, word, Signal(signed(9)))
    fixed = _age(lambda pipe, a: fp32.to_fixed(pipe, a, Z_FRACTION, Z_BITS), word)
    exp2, recip, rsqrt = (_age(f, x) for f, x in ((table.exp2_fixed, number), (table.recip, word), (table.rsqrt, word)))
    code = _age(lambda pipe, value, e8: block.quantise_code(pipe, value, e8, config.act_bits, pipe.input(Signal())),
                word, Signal(8))
    convert = max(1, BLOCK // max(8, config.lanes))
    return Latencies(
        row=config.block_cycles + ArrayLatencies(config).result + 2,  # and the drain's memory and register
        pause=add + mul + 1 + FOLD - 1 + MERGE,
        front=mul + add + 1,  # and the slice before the pair stage
        plain=1 + mul + add,
        glu=1 + _age(sigmoid.sigmoid, word) + (config.lanes > 1) + 2 * mul,
        back=add + mul + 1,
        rms=add + mul + FOLD + 2 + mul + add + rsqrt + config.seats + 1,
        quantise=2 + code + 2 + 1 + convert,  # choice and value; sum and output; the router
        convert=convert,
        scores=mul + fixed + 6,  # the page's maximum 2, its move 1, the FIFO of pages 1, its load 1, the z memory 1
        weigh=1 + exp2 + scale2,
        factor=config.seats + _age(lambda pipe, a: fp32.from_int(pipe, a, -30), number) + add + recip + 2,
        sample=mul + add + 3,
    )
