"""Several stream units in one component, so that a test file needs one build; test vectors; how each unit is tested."""

import harness
import numpy as np
from amaranth.hdl import Module
from amaranth.lib import stream, wiring

__all__ = ["CORNERS", "Units", "as_float", "check_model", "check_stream", "random_floats"]

# zeros, subnormals, the smallest normals, one, ties' neighbours, 2^24, the largest; both signs
CORNERS = np.array([sign << 31 | bits for sign in (0, 1) for bits in (
    0, 1, 0x7FFFFF, 0x800000, 0x800001, 0xFFFFFF, 0x1000000, 0x33800000, 0x33800001, 0x34000000, 0x3F000000, 0x3F7FFFFF,
    0x3F800000, 0x3F800001, 0x3FFFFFFF, 0x40000000, 0x4B7FFFFF, 0x4B800000, 0x7E800000, 0x7F000000, 0x7F7FFFFF)],
    np.uint32)


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


def as_float(bits):
    """float32 array of bit patterns."""
    return np.asarray(bits).astype(np.uint32).view(np.float32)


def random_floats(rng, count, low=0, high=255):
    """Random finite bit patterns (uint32), exponent fields in [low, high), some with few bits set; corners first."""
    fields = rng.integers(low, high, count).astype(np.uint32) << np.uint32(23)
    bits = rng.integers(0, 1 << 32, count, dtype=np.uint32) & np.uint32(0x807FFFFF) | fields
    bits = np.where(rng.random(count) < 0.2, bits & np.uint32(0xFFF00003), bits)
    corners = CORNERS[:count] if (low, high) == (0, 255) else CORNERS[:0]
    bits[:len(corners)] = corners
    return bits


async def check_stream(dut, name, payloads, model, latency=None, stalled=300):
    """Run payloads through a unit: some of them under stalls, then all at full throughput, one result a cycle.

    Parameters
    ----------
    payloads : ints
    model : function from the payloads that the unit took to the expected results, as unsigned ints
    latency : cycles from input to output that the unit promises
    """
    tb = harness.Bench(dut)
    source, sink = tb.source(f"i_{name}"), tb.sink(f"o_{name}")
    payloads = [int(payload) for payload in payloads]
    for stalls, batch in ((0.3, payloads[:stalled]), (0.0, payloads)):
        source.stalls = sink.stalls = stalls
        await tb.reset()
        source.send(batch)
        results = await sink.receive(len(batch))
        expected = [int(value) for value in model(source.accepted)]
        assert len(results) == len(expected) == len(batch)
        for payload, result, wanted in zip(source.accepted, results, expected, strict=True):
            assert result == wanted, f"{name}({payload:#x}) is {result:#x}; the model says {wanted:#x} ({tb.seed})"
    assert sink.cycles[-1] - sink.cycles[0] == len(batch) - 1, f"{name} does not give one result a cycle"
    if latency is not None:
        assert sink.cycles[0] - source.cycles[0] == latency


def check_model(got, wanted, *inputs):
    """float32 arrays are equal bit for bit; the message shows the first difference with its inputs."""
    got, wanted = np.asarray(got, np.float32).view(np.uint32), np.asarray(wanted, np.float32).view(np.uint32)
    bad = np.flatnonzero(got != wanted)
    if len(bad):
        at = bad[0]
        shown = [hex(int(np.asarray(x).ravel()[at]) & (1 << 64) - 1) for x in inputs]
        raise AssertionError(f"{len(bad)} of {got.size} differ; first: inputs {shown}, got {got[at]:#x}, "
                             f"expected {wanted[at]:#x}")
