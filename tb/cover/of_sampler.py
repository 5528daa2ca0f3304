"""The sampler: greedy or not, and how many logits."""

from cocotb_coverage.coverage import CoverCross, CoverPoint

from cover.observe import observes


@observes("test_sampler", "command")
@CoverPoint("sampler.greedy", xf=lambda item: item["invt"] == 0, bins=[False, True])
@CoverPoint("sampler.rows", xf=lambda item: "one" if item["rows"] == 1 else "more", bins=["one", "more"])
@CoverCross("sampler.greedy_rows", items=["sampler.greedy", "sampler.rows"])
def command(item):
    pass


@observes("test_noise", "command")
@CoverPoint("sampler.noise.position", xf=lambda item: "low" if item["position"] < 1 << 16 else "high",
            bins=["low", "high"])
def noise(item):
    pass
