"""Boards: bytes to be stuffed and unstuffed."""

from cocotb_coverage.coverage import CoverPoint

from cover.observe import observes


@observes("test_cobs", "i")  # of the decoder, and of the encoder, which has more than the byte
@CoverPoint("board.cobs.byte", xf=lambda item: "other" if item.get("", item.get("data")) else "zero",
            bins=["zero", "other"])
def byte(item):
    pass
