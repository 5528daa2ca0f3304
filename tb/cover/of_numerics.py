"""Numerics: classes of FP32 operands, and their pairs. Infinities and NaN are none: what is too large saturates."""

from cocotb_coverage.coverage import CoverCross, CoverPoint

from cover.observe import observes

CLASSES = ["zero", "subnormal", "normal", "largest"]
LARGEST = 0x7F7FFFFF


def kind(word):
    size = word & 0x7FFFFFFF
    if size < 1 << 23:
        return CLASSES[1] if size else CLASSES[0]
    return CLASSES[2 + (size == LARGEST)] if size <= LARGEST else None


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
