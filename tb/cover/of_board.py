"""Boards: requests of the host link's frames, and how long stuffed frames are."""

from cocotb_coverage.coverage import CoverPoint

from cover.observe import observes


@observes("test_cobs", "i")
@CoverPoint("board.cobs.byte", xf=lambda item: "zero" if not item["byte"] else "other", bins=["zero", "other"])
def byte(item):
    pass
