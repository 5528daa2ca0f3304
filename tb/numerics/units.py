"""Several pipe units in one component, so that a test file needs one build, and the two ways each of them is tested."""

import harness
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from scoville.numerics.pipe import PipeUnit

__all__ = ["Units", "check_stream", "compare", "float_bits", "random_floats"]


class Units(wiring.Component):
    """Stream units side by side; unit `name` has streams `i_name` and `o_name`.

    Parameters
    ----------
    units : dict from names to components with streams `i` and `o`
    """

    def __init__(self, units):
        self.units = units
        ports = {}
        for name, unit in units.items():
            ports[f"i_{name}"] = wiring.In(stream.Signature(unit.i.payload.shape()))
            ports[f"o_{name}"] = wiring.Out(stream.Signature(unit.o.payload.shape()))
        super().__init__(ports)

    def elaborate(self, platform):
        m = Module()
        for name, unit in self.units.items():
            m.submodules[name] = unit
            wiring.connect(m, wiring.flipped(getattr(self, f"i_{name}")), unit.i)
            wiring.connect(m, unit.o, wiring.flipped(getattr(self, f"o_{name}")))
        return m


def unit(function, i_shape, o_shape):
    """A stream unit of a pipe function."""
    return PipeUnit(function, i_shape, o_shape)


async def check_stream(dut, name, payloads, model, latency, stalled=400):
    """Run `payloads` through a unit, first some of them under stalls, then all at full throughput.

    Parameters
    ----------
    model : function of the list of payloads that the unit took (ints), giving the expected results (ints)
    latency : cycles from the input to the output that the unit promises
    """
    for stalls, batch in ((0.3, payloads[:stalled]), (0.0, payloads)):
        tb = harness.Bench(dut, seed=int(stalls * 10))
        source, sink = tb.source(f"i_{name}", stalls), tb.sink(f"o_{name}", stalls)
        await tb.reset()
        source.send(batch)
        results = await sink.receive(len(batch))
        assert len(source.accepted) == len(batch)
        compare(name, source.accepted, results, model(source.accepted))
        if not stalls:
            assert sink.cycles[-1] - sink.cycles[0] == len(batch) - 1, "not one result a cycle"
            assert sink.cycles[0] - source.cycles[0] == latency
