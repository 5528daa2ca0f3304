"""AXI4-Lite and AXI4 as assumptions about one side and assertions about the other."""

from amaranth.hdl import Assert, Assume, Cat, Cover, Mux, Signal

from formal.rules import holds_still

__all__ = ["LiteSubordinate"]

LITE = {"aw": ("addr", "prot"), "w": ("data", "strb"), "b": ("resp",), "ar": ("addr", "prot"), "r": ("data", "resp")}


def still(m, port, channel, fields):
    """`holds_still` for a channel of a port."""
    return holds_still(m, getattr(port, f"{channel}valid"), getattr(port, f"{channel}ready"),
                       Cat(getattr(port, channel + field) for field in fields))


def fire(port, channel):
    """A transfer on this channel."""
    return getattr(port, f"{channel}valid") & getattr(port, f"{channel}ready")


class LiteSubordinate:
    """The rules of an AXI4-Lite subordinate, with any legal manager.

    An answer comes after its request, one each, stays until it is taken, and neither a request nor an answer is held up
    for longer than `most` cycles by the subordinate alone.

    Parameters
    ----------
    m : Module of the claim
    bus : the subordinate's port; the claim's free inputs drive the manager's side
    most : cycles
    requests : that the subordinate may hold
    """

    def __init__(self, m, bus, *, most, requests=2):
        for channel in ("aw", "w", "ar"):
            m.d.comb += Assume(still(m, bus, channel, LITE[channel]))
        for channel in ("b", "r"):
            m.d.comb += Assert(still(m, bus, channel, LITE[channel]))
        count = {channel: Signal(range(requests + 2), name=f"{channel}_open") for channel in ("aw", "w", "ar")}
        for channel, answer in (("aw", "b"), ("w", "b"), ("ar", "r")):
            number = count[channel]
            m.d.sync += number.eq(number + fire(bus, channel) - fire(bus, answer))
            m.d.comb += [
                Assert(~getattr(bus, f"{answer}valid") | (number != 0)),
                Assert(number <= requests),
            ]
        # A request or an answer that the subordinate owes, and that nobody else holds up.
        for name, owed in (
            ("write", bus.awvalid & bus.wvalid & ~bus.awready & ~bus.bvalid), ("read", bus.arvalid & ~bus.arready
                                                                                & ~bus.rvalid),
            ("b", (count["aw"] != 0) & (count["w"] != 0) & ~bus.bvalid), ("r", (count["ar"] != 0) & ~bus.rvalid),
        ):
            late = Signal(range(most + 2), name=f"{name}_late")
            m.d.sync += late.eq(Mux(owed, late + 1, 0))
            m.d.comb += Assert(late <= most)
        both = Signal(2)
        m.d.sync += both.eq(both | Cat(fire(bus, "b"), fire(bus, "r")))
        m.d.comb += [Cover(both == 3), Cover(fire(bus, "b") & fire(bus, "r")), Cover(both[0] & bus.bvalid),
                     Cover(both[1] & bus.rvalid)]
