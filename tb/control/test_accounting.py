"""What cycles are charged to, from random signals of the units: reasons and the trace port's word, against a model."""

from types import SimpleNamespace

import cocotb
import harness
import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from cocotb.triggers import FallingEdge, Timer
from scoville.control.accounting import activity, stall_reasons
from scoville.control.activity import ACTIVITY, activity_layout
from scoville.control.monitor import REASON_BITS
from scoville.epilogue.chain import LaneScale
from scoville.epilogue.router import QuantDest
from scoville.isa import Dest, Opcode
from scoville.registers import STALLS

LATENCY = 3  # of the decoder here
WIDTHS = {"issue.opcode": 4, "issue.dest": 3, "chain.command.payload.lane_scale": 2, "router.i.p.info.dest": 3}
STREAMS = ("array.o", "array.task", "issue.i", "front_end.o", "front_end.lookup", "front_end.found", "decoder.i",
           "decoder.vector", "chain.command", "chain.o", "chain.logits", "schedule.request", "schedule.response",
           "schedule.sampled", "vectors.command", "router.kv", "router.i")
BUSY = ("softmax", "chain", "quantiser", "router", "kv_store", "sampler", "dump", "vectors")
NAMES = [
    *(f"{stream}.{end}" for stream in STREAMS for end in ("valid", "ready")), *(f"{unit}.busy" for unit in BUSY),
    "array.no_weights", "array.no_task", "array.drain_full", "array.no_operands", "array.begin", "array.o.p.tag",
    "issue.waiting", "issue.waiting_softmax", "issue.done", "front_end.waiting_kv", "decoder.waiting",
    "decoder.header", "chain.command.payload.norm", "schedule.begin", "schedule.held", "reader.idle",
    "reader.bus.rvalid", "reader.bus.rready", "router.i.p.last", "writer.idle", *WIDTHS]
OFTEN = {"array.no_weights": 0.6, "array.no_task": 0.4, "issue.waiting": 0.6, "array.drain_full": 0.4,
         "schedule.begin": 0.05, "issue.done": 0.05}  # the rest: a half


class Accounts(wiring.Component):
    """Both functions on units that are nothing but inputs."""

    def __init__(self, several):
        self.several = several
        super().__init__({name.replace(".", "_"): In(WIDTHS.get(name, 1)) for name in NAMES} | {
            "charged": In(REASON_BITS), "reasons": Out(len(STALLS)), "word": Out(activity_layout().size)})

    def elaborate(self, platform):
        m = Module()
        units = {}
        for name in NAMES:
            unit, *path, last = name.split(".")
            place = units.setdefault(unit, SimpleNamespace(LATENCY=LATENCY))
            for step in path:
                place.__dict__.setdefault(step, SimpleNamespace())
                place = getattr(place, step)
            setattr(place, last, getattr(self, name.replace(".", "_")))
        clocked = Signal()  # what is in `m.d.sync` for sure
        m.d.sync += clocked.eq(1)
        m.d.comb += [self.reasons.eq(stall_reasons(m, units, self.several)),
                     self.word.eq(activity(m, units, self.charged))]
        return m


class Model:
    """The same of a run's cycles: dicts of signals by name, and what the registers remember."""

    def __init__(self, several):
        self.several = several
        self.late = [(0, 0, 0, 0)] * LATENCY
        self.norm = self.running = self.loading = self.idle = 0
        self.now, self.before = dict.fromkeys(ACTIVITY, 0), dict.fromkeys(ACTIVITY, 0)

    def cycle(self, s):
        """The reasons and the word of a cycle; then its edge."""
        def waits(name):
            return s[f"{name}.valid"] and not s[f"{name}.ready"]

        def moves(name):
            return s[f"{name}.valid"] and s[f"{name}.ready"]

        waiting, vector, header, taking = self.late[0]
        starved, no_task, full = s["array.no_weights"], s["array.no_task"], s["array.drain_full"]
        unread = starved and waiting and self.idle
        scores = s["array.o.valid"] and s["array.o.p.tag"]
        walks = s["front_end.lookup.valid"] or s["front_end.found.ready"]
        held = no_task and s["issue.waiting"]
        opcode, dest = s["issue.opcode"], s["issue.dest"]
        rows = full and not scores
        fed = no_task and not s["issue.waiting"]
        reasons = {
            "kv_write": unread and s["front_end.waiting_kv"],
            "page_lookup": unread and walks,
            "memory": starved and waiting and not unread or no_task and s["vectors.busy"] and s["decoder.waiting"],
            "vector": starved and vector or fed and moves("decoder.vector"),
            "header": starved and header or fed and not s["issue.waiting_softmax"] and s["decoder.header"],
            "bus": starved and taking,
            "decoder": starved and not unread,
            "drain_kv": rows and waits("router.kv"),
            "drain_quantiser": rows and waits("chain.o"),
            "drain_logits": rows and waits("chain.logits"),
            "drain_rms": rows and not s["chain.busy"] and waits("chain.command")
            and s["chain.command.payload.lane_scale"] == LaneScale.RMS.value,
            "drain_norm": rows and self.norm,
            "drain_chain": rows,
            "operands": s["array.no_operands"],
            "softmax": full or no_task and s["issue.waiting_softmax"],
            "dependency_linear": held and opcode == Opcode.LINEAR and dest == Dest.OPERAND,
            "dependency_kv": held and opcode == Opcode.LINEAR and dest in (Dest.QUERY, Dest.KEY, Dest.VALUE),
            "dependency_attend": held and opcode == Opcode.ATTEND,
            "dependency_logits": held and opcode == Opcode.LINEAR and dest == Dest.LOGITS,
            "pass_end": held and opcode == Opcode.END,
            "dependency_load": held and opcode != Opcode.END,
            "prompt": s["schedule.request.valid"] or s["schedule.response.ready"],
            "sampling": s["schedule.sampled.ready"] and not (self.several and self.running) or s["schedule.held"],
            "fetch": unread or self.running and s["issue.i.ready"] and not s["issue.i.valid"],
            "command": self.running,
            "idle": 1,
        }
        word = self.before | {"charged": s["charged"]}
        now = {
            "begin": s["schedule.begin"], "forward": moves("front_end.o"), "take": moves("issue.i"),
            "task": moves("array.task"), "start": s["array.begin"],
            "loaded": self.loading and s["vectors.command.ready"],
            "routed": moves("router.i") and s["router.i.p.last"]
            and s["router.i.p.info.dest"] != QuantDest.PROBABILITY.value,
            "token": moves("schedule.sampled"), "done": s["issue.done"], "waiting": s["issue.waiting"],
            "kv_wait": s["front_end.waiting_kv"], "page_lookup": walks, "read": not s["reader.idle"],
            "beat": s["reader.bus.rvalid"] and s["reader.bus.rready"], "decoder": moves("decoder.i"),
            "drain": s["array.o.valid"], "writer": not s["writer.idle"], **{unit: s[f"{unit}.busy"] for unit in BUSY}}
        self.now, self.before = now, self.now
        self.loading = not s["vectors.command.ready"]
        self.late = [*self.late[1:],
                     (s["decoder.waiting"], moves("decoder.vector"), s["decoder.header"], moves("decoder.i"))]
        if moves("chain.command"):
            self.norm = s["chain.command.payload.norm"]
        if s["schedule.begin"] or s["issue.done"]:
            self.running = s["schedule.begin"]
        self.idle = s["reader.idle"]
        return {name: int(bool(value)) for name, value in reasons.items()}, {
            name: int(value) if name == "charged" else int(bool(value)) for name, value in word.items()}


@cocotb.test()
async def every_cycle(dut):
    """Every reason and every member of the word in every cycle, and each of them is high and low at times."""
    tb = harness.Bench(dut, 1)
    await tb.reset()
    model, seen = Model(int(harness.parameters()) > 1), set()
    await FallingEdge(dut.clk)
    for name in NAMES:
        getattr(dut, name.replace(".", "_")).value = 0
    for _ in range(LATENCY + 3):  # the registers know of nothing
        model.cycle(dict.fromkeys([*NAMES, "charged"], 0))
        await FallingEdge(dut.clk)
    for _ in range(3000):
        signals = {name: tb.rng.getrandbits(WIDTHS[name]) if name in WIDTHS
                   else int(tb.rng.random() < OFTEN.get(name, 0.5)) for name in NAMES}
        signals["issue.opcode"] %= max(Opcode) + 1
        signals["charged"] = tb.rng.getrandbits(REASON_BITS)
        for name, value in signals.items():
            getattr(dut, name.replace(".", "_")).value = value
        await Timer(1, "ns")
        reasons, word = model.cycle(signals)
        found = harness.peek(dut.reasons)
        assert {name: found >> place & 1 for place, name in enumerate(STALLS)} == reasons
        assert harness.unpack(activity_layout(), harness.peek(dut.word)) == word
        seen |= {*reasons.items(), *((name, bool(value)) for name, value in word.items())}
        await FallingEdge(dut.clk)
    wanted = {(name, value) for name in (*STALLS, *ACTIVITY) for value in (0, 1)} - {("idle", 0)}
    assert wanted <= seen, wanted - seen


@pytest.mark.parametrize("slots", [1, 4])
def test_accounting(sim, slots):
    harness.run(Accounts(slots > 1), __name__, sim=sim, parameters=str(slots))
