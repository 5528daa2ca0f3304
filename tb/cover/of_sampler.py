"""The sampler: how many logits."""

from cocotb_coverage.coverage import CoverPoint

from cover.observe import observes


@observes("test_sampler", "command")
@CoverPoint("sampler.rows", xf=lambda item: "one" if item["rows"] == 1 else "more", bins=["one", "more"])
def command(item):
    pass


@observes("test_noise", "command")
@CoverPoint("sampler.noise.rows", xf=lambda item: min(item[""], 2), bins=[0, 1, 2])
def noise(item):
    pass
