"""What rests: each input counts."""

import cocotb
import harness
from cocotb.triggers import Timer
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
        shown = bool(harness.peek(dut.quiet)), bool(harness.peek(dut.settled))
        assert shown == Rest.model(**case), case
        found.add(shown)
    assert len(found) == 4


def test_rest(sim):
    harness.run(Rest(), __name__, sim=sim)
