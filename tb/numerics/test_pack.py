"""The last step of the table functions alone: every fraction it may be given at every exponent, rounded, flushed,
saturated. The curves themselves leave out many of these."""

import cocotb
import harness
import numpy as np
from amaranth.hdl import signed
from amaranth.lib.data import StructLayout
from scoville.numerics import table
from scoville.numerics.pipe import PipeUnit
from units import Units, check_stream

PARTS = StructLayout({"sign": 1, "field": signed(11), "y": 25, "up": 1})
ONE = 1 << 23


def pack(pipe, i):
    return table.pack(pipe, *(pipe.input(i.value[name]) for name in ("sign", "field", "y", "up")))


@cocotb.test()
async def parts(dut):
    rng = np.random.default_rng(1)
    fields = [-1024, -513, -512, -257, -256, -129, -128, *range(-3, 4), 63, 64, 127, 128, *range(252, 260), 383, 384,
              511, 512, 767, 1022]
    ones = [2 * ONE - 1 - (1 << bit) for bit in range(23)]  # all ones but one: no carry
    ends = [(y, up) for y in (ONE, ONE + 1, 2 * ONE - 2, 2 * ONE - 1) for up in (0, 1)] + [(2 * ONE, 0)]
    cases = [(field, y, up) for field in fields for y, up in ends]
    cases += [(field, y, 1) for field in (0, 1, 254, 255) for y in ones]
    cases += rng.integers([-1024, ONE, 0], [1023, 2 * ONE, 2], (1500, 3)).tolist()
    field, y, up = np.array(cases).T
    sign = rng.integers(0, 2, len(cases))
    wanted = table.model._pack(sign, field, y + up).view(np.uint32)
    payloads = [harness.pack(PARTS, dict(zip(("sign", "field", "y", "up"), map(int, case), strict=True)))
                for case in zip(sign, field, y, up, strict=True)]
    await check_stream(dut, "pack", payloads, lambda taken: wanted[:len(taken)], 1)


def test_pack(sim):
    harness.run(lambda: Units({"pack": PipeUnit(pack, PARTS, 32)}), __name__, sim=sim)
