"""AXI4 and AXI4-Lite port shapes, named so that the Verilog has the signal names of the AMBA specification."""

from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from scoville.checks import check, check_channel

__all__ = ["BOUNDARY", "ID_BITS", "LITE_ADDR_BITS", "LITE_DATA_BITS", "MAX_BURST", "Burst", "ErrorKind", "Resp",
           "check_addresses", "guarded_read_signature", "guarded_signature", "guarded_write_signature",
           "lite_signature", "read_signature", "signature", "write_signature"]

ID_BITS = 2
MAX_BURST = 256  # beats of one INCR burst
BOUNDARY = 4096  # bytes; no burst may cross a multiple of it
LITE_ADDR_BITS = 12
LITE_DATA_BITS = 32


class Burst(enum.Enum, shape=2):
    """AxBURST."""

    FIXED = 0
    INCR = 1
    WRAP = 2


class Resp(enum.Enum, shape=2):
    """RRESP and BRESP."""

    OKAY = 0
    EXOKAY = 1
    SLVERR = 2
    DECERR = 3


class ErrorKind(enum.Enum, shape=2):
    """Why a read or a write failed."""

    NONE = 0
    WINDOW = 1  # not wholly in the address window; never reached the bus
    RESPONSE = 2  # the memory answered SLVERR or DECERR


def _address(prefix, addr_bits):
    return {
        f"{prefix}id": Out(ID_BITS),
        f"{prefix}addr": Out(addr_bits),
        f"{prefix}len": Out(8),
        f"{prefix}size": Out(3),
        f"{prefix}burst": Out(2),
        f"{prefix}valid": Out(1),
        f"{prefix}ready": In(1),
    }


def _read_members(config):
    return _address("ar", config.addr_bits) | {
        "rid": In(ID_BITS),
        "rdata": In(config.bus_bits),
        "rresp": In(2),
        "rlast": In(1),
        "rvalid": In(1),
        "rready": Out(1),
    }


def _write_members(config):
    return _address("aw", config.addr_bits) | {
        "wdata": Out(config.bus_bits),
        "wstrb": Out(config.bus_bytes),
        "wlast": Out(1),
        "wvalid": Out(1),
        "wready": In(1),
        "bid": In(ID_BITS),
        "bresp": In(2),
        "bvalid": In(1),
        "bready": Out(1),
    }


def read_signature(config):
    """The read channels of AXI4, as the manager sees them."""
    return wiring.Signature(_read_members(config))


def write_signature(config):
    """The write channels of AXI4, as the manager sees them."""
    return wiring.Signature(_write_members(config))


def signature(config):
    """All five channels of AXI4, as the manager sees them."""
    return wiring.Signature(_read_members(config) | _write_members(config))


def guarded_read_signature(config):
    """The read channels inside the chip: with each beat, whether `Window` made it up, as it refused the burst."""
    return wiring.Signature(_read_members(config) | {"rrefused": In(1)})


def guarded_write_signature(config):
    """The write channels inside the chip: with each response, whether `Window` gave it, as it refused the burst."""
    return wiring.Signature(_write_members(config) | {"brefused": In(1)})


def guarded_signature(config):
    """All five channels inside the chip."""
    return wiring.Signature(_read_members(config) | _write_members(config) | {"rrefused": In(1), "brefused": In(1)})


def lite_signature():
    """AXI4-Lite with 32 data bits and 12 address bits, as the manager sees it; a register port is ``In()`` of it."""
    return wiring.Signature({
        "awaddr": Out(LITE_ADDR_BITS),
        "awprot": Out(3),
        "awvalid": Out(1),
        "awready": In(1),
        "wdata": Out(LITE_DATA_BITS),
        "wstrb": Out(LITE_DATA_BITS // 8),
        "wvalid": Out(1),
        "wready": In(1),
        "bresp": In(2),
        "bvalid": In(1),
        "bready": Out(1),
        "araddr": Out(LITE_ADDR_BITS),
        "arprot": Out(3),
        "arvalid": Out(1),
        "arready": In(1),
        "rdata": In(LITE_DATA_BITS),
        "rresp": In(2),
        "rvalid": In(1),
        "rready": Out(1),
    })


def check_addresses(m, bus, channel, config, name):
    """Assert the rules of an address channel, ``"ar"`` or ``"aw"``.

    An offer stays and does not change; bursts are INCR, of the bus's width, aligned to it, and within 4 KB.
    """
    check_channel(m, bus, channel, name)
    address, length, valid = (getattr(bus, channel + field) for field in ("addr", "len", "valid"))
    size = exact_log2(config.bus_bytes)
    whole = (getattr(bus, f"{channel}size") == size) & (getattr(bus, f"{channel}burst") == Burst.INCR)
    check(m, ~valid | whole, f"{name}: bursts are INCR and of the bus's width")
    check(m, ~valid | (address[:size] == 0), f"{name}: bursts are aligned to the bus")
    last = address[size:exact_log2(BOUNDARY)] + length
    check(m, ~valid | (last < BOUNDARY // config.bus_bytes), f"{name}: no burst crosses 4 KB")
