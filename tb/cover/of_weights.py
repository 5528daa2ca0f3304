"""The weight decoder: kinds of commands, formats, and sizes."""

from cocotb_coverage.coverage import CoverCross, CoverPoint

from cover.observe import observes

KINDS = ["VECTOR", "LINEAR", "KEY", "VALUE"]


@observes("test_decoder", "command")
@CoverPoint("weights.decoder.kind", xf=lambda item: KINDS[item["kind"]], bins=KINDS)
def command(item):
    if KINDS[item["kind"]] == "LINEAR":
        linear(item)


@CoverPoint("weights.decoder.bits", xf=lambda item: 8 if item["code_bits8"] else 4, bins=[4, 8])
@CoverPoint("weights.decoder.scale", xf=lambda item: item["scale_format"], bins=[0, 1, 2, 3])
@CoverPoint("weights.decoder.minimum", xf=lambda item: item["minimum"], bins=[0, 1])
@CoverPoint("weights.decoder.high_bits", xf=lambda item: item.get("high_bits", 0), bins=[0, 1, 2])
@CoverPoint("weights.decoder.kblocks", xf=lambda item: "one" if item["kblocks"] == 1 else "more", bins=["one", "more"])
@CoverCross("weights.decoder.format", items=["weights.decoder.bits", "weights.decoder.scale",
                                             "weights.decoder.minimum"])
@CoverCross("weights.decoder.above", items=["weights.decoder.scale", "weights.decoder.minimum",
                                            "weights.decoder.high_bits"])
def linear(item):
    pass
