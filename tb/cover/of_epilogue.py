"""The epilogue: stages of the chain and their mixtures, the quantiser's masks, the router's destinations."""

from cocotb_coverage.coverage import CoverCross, CoverPoint
from scoville.epilogue.chain import ChainSource, LaneScale
from scoville.epilogue.quantiser import QuantSource
from scoville.epilogue.router import QuantDest
from scoville.epilogue.vectors import VectorDest
from scoville.isa import Mode

from cover.observe import observes


def names(kind):
    return [member.name for member in kind]


def name(kind, field):
    return lambda item: kind(item[field]).name


def some(mask):
    return "none" if not mask else "one" if not mask & mask - 1 else "more"


@observes("test_chain", "command")
@CoverPoint("epilogue.chain.source", xf=name(ChainSource, "source"), bins=names(ChainSource))
@CoverPoint("epilogue.chain.scale", xf=name(LaneScale, "lane_scale"), bins=names(LaneScale))
@CoverPoint("epilogue.chain.mode", xf=name(Mode, "mode"), bins=names(Mode))
@CoverPoint("epilogue.chain.bias", xf=lambda item: item["bias"], bins=[0, 1])
@CoverPoint("epilogue.chain.add", xf=lambda item: item["residual_add"], bins=[0, 1])
@CoverPoint("epilogue.chain.store", xf=lambda item: item["residual_store"], bins=[0, 1])
@CoverPoint("epilogue.chain.norm", xf=lambda item: item["norm"], bins=[0, 1])
@CoverPoint("epilogue.chain.logits", xf=lambda item: item["logits"], bins=[0, 1])
@CoverPoint("epilogue.chain.seats", xf=lambda item: some(item["mask"]), bins=["none", "one", "more"])
@CoverCross("epilogue.chain.mode_bias", items=["epilogue.chain.mode", "epilogue.chain.bias"])
@CoverCross("epilogue.chain.residual", items=["epilogue.chain.add", "epilogue.chain.store", "epilogue.chain.norm"],
            ign_bins=[(1, 0, 0), (1, 0, 1), (0, 0, 1)])  # a sum is stored, and what is normalised is
def chain(item):
    pass


@observes("test_quantiser", "command")
@CoverPoint("epilogue.quantiser.source", xf=name(QuantSource, "source"), bins=names(QuantSource))
@CoverPoint("epilogue.quantiser.kv8", xf=lambda item: item["kv8"], bins=[0, 1])
@CoverPoint("epilogue.quantiser.half", xf=lambda item: item["half"], bins=[0, 1])
@CoverPoint("epilogue.quantiser.seats", xf=lambda item: some(item["mask"]), bins=["one", "more"])
@CoverPoint("epilogue.quantiser.blocks", xf=lambda item: "one" if item["blocks"] == 1 else "more", bins=["one", "more"])
@CoverCross("epilogue.quantiser.source_seats", items=["epilogue.quantiser.source", "epilogue.quantiser.seats"])
def quantiser(item):
    pass


@observes("test_router", "i")
@CoverPoint("epilogue.router.dest", xf=name(QuantDest, "info.dest"), bins=names(QuantDest))
@CoverPoint("epilogue.router.last", xf=lambda item: item["last"], bins=[0, 1])
@CoverCross("epilogue.router.dest_last", items=["epilogue.router.dest", "epilogue.router.last"])
def router(item):
    pass


@observes("test_vectors", "command")
@CoverPoint("epilogue.vectors.dest", xf=name(VectorDest, "dest"), bins=names(VectorDest))
@CoverPoint("epilogue.vectors.beats", xf=lambda item: "one" if item["beats"] == 1 else "more", bins=["one", "more"])
def vectors(item):
    if item["dest"] == VectorDest.EMBED.value:
        embedding(item)


@CoverPoint("epilogue.vectors.element", xf=lambda item: item["element"], bins=[0, 1])
def embedding(item):
    pass
