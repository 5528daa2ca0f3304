"""The register port keeps AXI4-Lite, whatever a legal manager does."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from scoville.config import get_config
from scoville.control.register_file import RegisterFile
from scoville.memory import axi

from formal.axi import LiteSubordinate
from formal.planted import planted
from formal.proof import PDR, Claim, Proof

__all__ = ["PROOFS"]


class RegisterPort(Claim):
    def __init__(self, registers):
        super().__init__({name: In(member.shape) for name, member in axi.lite_signature().members.items()
                          if member.flow is wiring.Out}
                         | {name: In(member.shape) for name, member in registers.signature.members.items()
                            if member.is_port and member.flow is wiring.In})
        self.registers = registers

    def elaborate(self, platform):
        m = Module()
        m.submodules.registers = registers = self.registers
        bus = registers.bus
        for name in self.signature.members:
            m.d.comb += getattr(bus if hasattr(bus, name) else registers, name).eq(getattr(self, name))
        LiteSubordinate(m, bus, most=RegisterFile.DEPTH + 2)
        return m


def registers(kind):
    return RegisterPort(kind(get_config("nano")))


PROOFS = [
    Proof(name="control.register_file", says="AXI4-Lite subordinate: answers stay, one a request, none late",
          claim=lambda: registers(RegisterFile), engine=PDR, reach=RegisterFile.DEPTH + 8, fails=RegisterFile.DEPTH + 8,
          fault="a response is withdrawn after a cycle",
          broken=lambda: registers(planted(RegisterFile, "with m.If(bus.bready):\n            m.d.sync += bus.bvalid",
                                           "with m.If(1):\n            m.d.sync += bus.bvalid"))),
]
