"""The dot array: what a task asks for."""

from cocotb_coverage.coverage import CoverCross, CoverPoint

from cover.observe import observes


@observes("test_array", "task")
@CoverPoint("array.task.clear", xf=lambda item: item["clear"], bins=[0, 1])
@CoverPoint("array.task.rescale", xf=lambda item: item["rescale"], bins=[0, 1])
@CoverPoint("array.task.drain", xf=lambda item: item["drain"], bins=[0, 1])
@CoverPoint("array.task.tag", xf=lambda item: item["tag"], bins=[0, 1])
@CoverPoint("array.task.guard", xf=lambda item: item["guard"], bins=[0, 1])
@CoverPoint("array.task.kblocks", xf=lambda item: "one" if item["kblocks"] == 1 else "more", bins=["one", "more"])
@CoverCross("array.task.accumulate", items=["array.task.clear", "array.task.rescale", "array.task.drain"],
            ign_bins=[(1, 1, 0), (1, 1, 1)])  # what starts from zero is not rescaled
@CoverCross("array.task.leaves", items=["array.task.drain", "array.task.tag", "array.task.kblocks"],
            ign_bins=[(0, 1, "one"), (0, 1, "more")])  # the tag goes with what leaves
def task(item):
    pass
