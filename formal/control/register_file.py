"""The register port keeps AXI4-Lite, whatever a legal manager does."""

from scoville.config import get_config
from scoville.control.register_file import RegisterFile

from formal.around import Around
from formal.axi import LiteSubordinate
from formal.planted import planted
from formal.proof import PDR, Proof

__all__ = ["PROOFS"]


class RegisterPort(Around):
    def elaborate(self, platform):
        m, _ = self.begin()
        LiteSubordinate(m, self.unit.bus, most=RegisterFile.DEPTH + 2)
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
