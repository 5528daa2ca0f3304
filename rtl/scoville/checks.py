"""What an author relied on, as assertions: simulated in every run, proved, and left out of what is built."""

from amaranth.hdl import Assert, Cat, Signal, Value

__all__ = ["check", "check_channel", "check_fifo", "check_stream"]


def check(m, condition, message):
    """Assert that `condition` holds at every clock edge, inside the `m.If` where this is called if it is in one.

    Parameters
    ----------
    m : Module
    condition : 1-bit value; a registered one costs no path
    message : "unit: what holds", printed when it does not
    """
    m.d.sync += Assert(condition, message)


def check_fifo(m, fifo, name):
    """No write into a full FIFO (it would be lost), no read from an empty one (it would be taken for data)."""
    check(m, ~fifo.w_en | fifo.w_rdy, f"{name}: no write when full")
    check(m, ~fifo.r_en | fifo.r_rdy, f"{name}: no read when empty")


def check_stream(m, stream, name):
    """An item that is offered stays, and does not change, until it is taken (`amaranth.lib.stream`, rules 1 and 2)."""
    _check_offer(m, stream.valid, stream.ready, Value.cast(stream.payload), name)


def check_channel(m, bus, channel, name):
    """The same of a channel of an AXI port: ``"ar"``, ``"r"``, ``"aw"``, ``"w"`` or ``"b"``."""
    valid, ready = getattr(bus, f"{channel}valid"), getattr(bus, f"{channel}ready")
    others = [field for field in bus.signature.members if field.startswith(channel)]
    payload = Cat(getattr(bus, field) for field in others if field not in (f"{channel}valid", f"{channel}ready"))
    _check_offer(m, valid, ready, payload, f"{name} {channel}")


def _check_offer(m, valid, ready, payload, name):
    waits, shown = Signal(), Signal(len(payload), reset_less=True)
    m.d.sync += waits.eq(valid & ~ready)
    with m.If(valid & ~ready):
        m.d.sync += shown.eq(payload)
    check(m, ~waits | valid, f"{name}: what is offered stays")
    check(m, ~waits | (payload == shown), f"{name}: what is offered does not change")
