"""An AXI4 port's five channels as streams of the harness."""

from amaranth.lib import data
from scoville.memory import axi

ADDRESS = ("addr", "len", "size", "burst", "id")
FIELDS = {"ar": ADDRESS, "r": ("data", "id", "resp", "last"), "aw": ADDRESS, "w": ("data", "strb", "last"),
          "b": ("id", "resp")}


def layouts(config):
    """data.StructLayout of each channel's payload, by its name."""
    members = axi.signature(config).members
    return {name: data.StructLayout({field: members[name + field].shape for field in fields})
            for name, fields in FIELDS.items()}


class Payload:
    """The signals of a channel as the harness's one payload; a field with unknown bits is all ones."""

    def __init__(self, handles):
        self._handles = handles

    @property
    def value(self):
        packed = 0
        for handle in reversed(self._handles):
            known = handle.value.is_resolvable
            packed = packed << len(handle) | (int(handle.value) if known else (1 << len(handle)) - 1)
        return packed

    @value.setter
    def value(self, packed):
        for handle in self._handles:
            handle.value = packed & (1 << len(handle)) - 1
            packed >>= len(handle)


class Channels:
    """The channels of AXI ports under the names that the harness's streams have, and all else of `dut`.

    Parameters
    ----------
    ports : what a port's streams' names begin with, to its name: by default ``aw`` is the stream of ``axi__aw…``
    """

    def __init__(self, dut, ports=None):
        self._dut = dut
        for prefix, port in (ports or {"": "axi"}).items():
            for name, fields in FIELDS.items():
                handles = [getattr(dut, f"{port}__{name}{field}") for field in fields]
                setattr(self, f"{prefix}{name}__payload", Payload(handles))
                for signal in ("valid", "ready"):
                    setattr(self, f"{prefix}{name}__{signal}", getattr(dut, f"{port}__{name}{signal}"))

    def __getattr__(self, name):
        return getattr(self._dut, name)
