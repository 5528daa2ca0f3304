"""The AXI port shapes: names and widths of the AMBA specification, and no channel missing."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from scoville.config import get_config
from scoville.memory import axi
from scoville.verilog import emit


class Ports(wiring.Component):
    """Only the ports, as on the chip's top."""

    def __init__(self, config):
        super().__init__({"m_axi": Out(axi.signature(config)), "s_axil": In(axi.lite_signature())})

    def elaborate(self, platform):
        return Module()


def test_verilog_port_names():
    text = emit(Ports(get_config("nano")))
    for port in ("output [39:0] m_axi__araddr", "output [7:0] m_axi__awlen", "input [127:0] m_axi__rdata",
                 "output [15:0] m_axi__wstrb", "input m_axi__bvalid", "input [11:0] s_axil__awaddr",
                 "output [31:0] s_axil__rdata"):
        assert f"  {port};" in text, port


def test_verilog_is_reproducible():
    assert emit(Ports(get_config("nano"))) == emit(Ports(get_config("nano")))


def test_signatures():
    config = get_config("kria")
    both = axi.signature(config).members
    parts = [axi.read_signature(config).members, axi.write_signature(config).members]
    assert set(both) == set(parts[0]) | set(parts[1])
    assert both["rdata"].shape == both["wdata"].shape == 8 * both["wstrb"].shape == 512
