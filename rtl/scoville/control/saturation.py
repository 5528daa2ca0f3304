"""Whether an FP32 result was clipped, for STATUS.saturated."""

from amaranth.hdl import Cat, Const, Signal

from scoville.numerics import fp32

__all__ = ["saturation"]


def saturation(m, config, units, tokens):
    """High a cycle after a clipped result. The largest finite value comes only from clipping.

    Lanes that no token uses hold anything; logits are those of the last token's phase.

    Parameters
    ----------
    m : Module
    config : ChipConfig
    units : dict of the chip's units by name
    tokens : value, tokens of the pass
    """
    chain, softmax, quantiser = (units[name] for name in ("chain", "softmax", "quantiser"))
    last_lane = (tokens - 1)[:config.lane_bits]
    tokens_mask = Cat(Const(1), *(lane <= last_lane for lane in range(1, config.lanes)))
    lost = Signal(4)
    m.d.sync += lost.eq(Cat(
        chain.clipped,
        chain.logits.valid & (tokens_mask & fp32.clipped(chain.logits.payload)).any(),
        *(rows.valid & rows.ready & (mask & fp32.clipped(rows.payload)).any()
          for rows, mask in ((chain.o, quantiser.mask), (softmax.o, quantiser.command.p.mask)))))
    return lost.any()
