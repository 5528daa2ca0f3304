"""Numerics: classes of FP32 operands, and their pairs."""

from cocotb_coverage.coverage import CoverCross, CoverPoint

from cover.observe import observes

CLASSES = ["zero", "subnormal", "normal", "largest", "infinite"]


def kind(word):
    exponent, fraction = word >> 23 & 0xFF, word & 0x7FFFFF
    if exponent == 0:
        return CLASSES[1] if fraction else CLASSES[0]
    return CLASSES[4] if exponent == 255 else CLASSES[3] if exponent == 254 and fraction == 0x7FFFFF else CLASSES[2]


@observes("test_fp32", "i_add")
@CoverPoint("numerics.add.a", xf=lambda item: kind(item["a"]), bins=CLASSES)
@CoverPoint("numerics.add.b", xf=lambda item: kind(item["b"]), bins=CLASSES)
@CoverCross("numerics.add.pair", items=["numerics.add.a", "numerics.add.b"])
def add(item):
    pass


@observes("test_fp32", "i_mul")
@CoverPoint("numerics.mul.a", xf=lambda item: kind(item["a"]), bins=CLASSES)
@CoverPoint("numerics.mul.b", xf=lambda item: kind(item["b"]), bins=CLASSES)
@CoverCross("numerics.mul.pair", items=["numerics.mul.a", "numerics.mul.b"])
def mul(item):
    pass
