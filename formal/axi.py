"""AXI4-Lite and AXI4 as assumptions about one side and assertions about the other."""

from types import SimpleNamespace

from amaranth.hdl import Assert, Assume, Cat, Const, Cover, Mux, Signal
from scoville.config import ChipConfig
from scoville.memory.axi import BOUNDARY, Burst

from formal.rules import Marked, holds_still

__all__ = ["SMALL", "LiteSubordinate", "WriteManager"]

SMALL = ChipConfig(name="small", bus_bytes=8, rows=1, lanes=1, addr_bits=16, stream_beats=16)
"""What the rules are proved for: they do not depend on the data's width, nor on the address beyond a 4 KiB page."""

ADDRESS = ("id", "addr", "len", "size", "burst")
FULL = {"ar": ADDRESS, "aw": ADDRESS, "w": ("data", "strb", "last"), "r": ("id", "data", "resp", "last"),
        "b": ("id", "resp")}
LITE = {"aw": ("addr", "prot"), "w": ("data", "strb"), "b": ("resp",), "ar": ("addr", "prot"), "r": ("data", "resp")}


def legal_address(m, port, channel, config):
    """What AXI4 asks of an address that is offered; and of this chip's: INCR, the whole width, aligned."""
    name = {field: getattr(port, channel + field) for field in ADDRESS}
    size = config.bus_bytes.bit_length() - 1
    low = name["addr"][size:BOUNDARY.bit_length() - 1]
    m.d.comb += Assert(~getattr(port, f"{channel}valid") | (
        (name["size"] == size) & (name["burst"] == Burst.INCR) & (name["addr"][:size] == 0)
        & (low + name["len"] < BOUNDARY // config.bus_bytes)))


class WriteManager:
    """The rules of an AXI4 write manager, with any legal subordinate.

    Addresses and data stay until they are taken; no burst crosses 4 KiB; WLAST comes with a burst's last beat; data
    comes with its address or after it, but never waits for the address to be taken.

    Parameters
    ----------
    m : Module of the claim
    bus : the manager's port; the claim's free inputs drive the subordinate's side
    pick : free bit, see `Marked`
    most : bursts offered whose data has not passed

    Members
    -------
    marked : follows a burst from its address to its last beat
    at : beats of the present burst that have passed
    addresses, data : bursts whose address has been taken, and whose data has, and which have no response yet
    """

    def __init__(self, m, bus, pick, config, *, most):
        legal_address(m, bus, "aw", config)
        for channel in ("aw", "w"):
            m.d.comb += Assert(still(m, bus, channel, FULL[channel]))
        m.d.comb += Assume(still(m, bus, "b", FULL["b"]))
        waits, self.new, self.at, ends = Signal(), Signal(), Signal(9), Signal()
        m.d.sync += waits.eq(bus.awvalid & ~bus.awready)
        m.d.comb += [self.new.eq(bus.awvalid & ~waits), ends.eq(fire(bus, "w") & bus.wlast)]
        with m.If(fire(bus, "w")):
            m.d.sync += self.at.eq(Mux(bus.wlast, 0, self.at + 1))
        self.marked = Marked(m, pick, SimpleNamespace(valid=self.new, ready=Const(1), payload=bus.awlen),
                             SimpleNamespace(valid=ends, ready=Const(1), payload=self.at), most=most)
        m.d.comb += [
            Assert(~bus.wvalid | (self.marked.inside != 0)),  # no data ahead of its address
            Assert(~self.marked.here | (self.marked.ahead != 0) | (self.at <= self.marked.word)),
        ]
        self.addresses, self.data = Signal(range(most + 2)), Signal(range(most + 2))
        m.d.sync += [self.addresses.eq(self.addresses + fire(bus, "aw") - fire(bus, "b")),
                     self.data.eq(self.data + ends - fire(bus, "b"))]
        m.d.comb += Assume(~bus.bvalid | (self.addresses != 0) & (self.data != 0))


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
