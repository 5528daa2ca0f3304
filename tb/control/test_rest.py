"""What rests, and where logits go: each input counts."""

import cocotb
import harness
import pytest
from cocotb.triggers import FallingEdge, Timer
from scoville.config import get_config
from scoville.control.logits_place import LogitsPlace
from scoville.control.rest import QUEUED, Rest


@cocotb.test()
async def each_counts(dut):
    """All at rest; then each input alone is not; then anything."""
    empty, busy = Rest().empty.shape(), Rest().busy.shape()
    bench = harness.Bench(dut, 1)
    await bench.reset()
    at_rest = {"empty": dict.fromkeys(QUEUED, 1), "busy": dict.fromkeys(busy.members, 0), "sampled": 0, "written": 1}
    cases = [at_rest]
    cases += [at_rest | {"empty": at_rest["empty"] | {name: 0}} for name in QUEUED]
    cases += [at_rest | {"busy": at_rest["busy"] | {name: 1}} for name in busy.members]
    cases += [at_rest | {"written": 0}, at_rest | {"sampled": 1},
              at_rest | {"sampled": 1, "busy": at_rest["busy"] | {"sampler": 1}}]
    for _ in range(300):
        few = bench.rng.random() < 0.8
        chance = 0.05 if few else 0.5
        cases.append({"empty": {name: int(bench.rng.random() > chance) for name in QUEUED},
                      "busy": {name: int(bench.rng.random() < chance) for name in busy.members},
                      "sampled": bench.rng.getrandbits(1), "written": int(bench.rng.random() > chance)})
    found = set()
    for case in cases:
        dut.empty.value = harness.pack(empty, case["empty"])
        dut.busy.value = harness.pack(busy, case["busy"])
        dut.sampled.value, dut.written.value = case["sampled"], case["written"]
        await Timer(1, "ns")
        shown = bool(int(dut.quiet.value)), bool(int(dut.settled.value))
        assert shown == Rest.model(**case), case
        found.add(shown)
    assert len(found) == 4


@cocotb.test()
async def places(dut):
    """Row after row, nowhere, and an address that does not fit, which stays outside every window."""
    config = get_config("nano")
    bench = harness.Bench(dut, 2)
    place = LogitsPlace(config)
    top = (1 << config.addr_bits) - config.bus_bytes
    await bench.reset()
    for first, stride in ((0, 64), (4096, 0), (4096, 320), (bench.rng.randrange(1 << 30) << 4, (1 << 32) - 16),
                          (top - 640, 640), (top - 640, 656), (top - 1280, 640), (top, 16), (0, 16),
                          *((bench.rng.randrange(1, 1 << 39), bench.rng.getrandbits(32)) for _ in range(40)),
                          *((1 << bit, 0) for bit in range(4, config.addr_bits)),
                          *((16, 1 << bit) for bit in range(4, 32))):
        dut.first.value, dut.stride.value = first, stride
        dut.start.value = 1
        await bench.wait(1)
        dut.start.value, dut.first.value = 0, 1 << 20
        for token in range(6 if stride % 32 == 0 else 3):
            await FallingEdge(dut.clk)
            assert int(dut.address.value) == place.model(first, stride, token)
            await bench.wait(bench.rng.randrange(1, 3))
            await FallingEdge(dut.clk)
            assert int(dut.address.value) == place.model(first, stride, token)
            assert int(dut.enable.value) == (first != 0)
            dut.next.value = 1
            await bench.wait(1)
            dut.next.value = 0
        await bench.reset()
        await FallingEdge(dut.clk)
        assert not int(dut.address.value)


def test_rest(sim):
    harness.run(Rest(), __name__, sim=sim, testcase=["each_counts"])


@pytest.mark.parametrize("config", ["nano"])
def test_logits_place(sim, config):
    harness.run(LogitsPlace(get_config(config)), __name__, sim=sim, testcase=["places"])
