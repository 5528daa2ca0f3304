"""Stall reasons and the trace port's word from units that are nothing but ports, against the table of what is meant."""

from collections import deque
from types import SimpleNamespace

import cocotb
import harness
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from cocotb.triggers import FallingEdge, RisingEdge
from scoville.control.accounting import activity, stall_reasons
from scoville.control.activity import ACTIVITY
from scoville.control.monitor import REASON_BITS
from scoville.epilogue.chain import LaneScale
from scoville.epilogue.router import QuantDest
from scoville.isa import Dest, Opcode
from scoville.registers import STALLS

LATENCY = 4
STREAMS = {  # a unit's streams
    "array": ("o", "task"), "decoder": ("vector", "i"), "chain": ("command", "logits", "o"),
    "sequence": ("request", "response", "sampled", "token"), "back": ("i",), "vectors": ("command",),
    "front": ("lookup", "found", "o"), "router": ("kv", "i"),
}
BITS = {  # and its other signs
    "array": ("no_weights", "no_task", "drain_full", "no_operands", "begin"), "decoder": ("waiting", "header"),
    "reader": ("idle", "rvalid", "rready"), "chain": ("busy",), "sequence": ("begin",),
    "back": ("done", "waiting", "waiting_softmax"), "vectors": ("busy",), "front": ("waiting_kv",),
    "writer": ("idle",), "softmax": ("busy",), "quantiser": ("busy",), "router": ("busy",), "kv_store": ("busy",),
    "sampler": ("busy",), "dump": ("busy",),
}
WIDE = {"back_opcode": 4, "back_dest": 3, "chain_lane_scale": 2, "router_dest": 3}
ALONE = ("array_tag", "chain_norm", "router_last")
PORTS = ([f"{unit}_{name}_{end}" for unit, names in STREAMS.items() for name in names for end in ("valid", "ready")]
         + [f"{unit}_{name}" for unit, names in BITS.items() for name in names] + list(ALONE))


class Ports(wiring.Component):
    """The two functions, on units that are ports."""

    def __init__(self):
        super().__init__(dict.fromkeys(PORTS, In(1)) | {name: In(width) for name, width in WIDE.items()} | {
            "charged": In(REASON_BITS), "reasons": Out(len(STALLS)), "word": Out(sum(ACTIVITY.values()))})

    def elaborate(self, platform):
        m = Module()
        units = {unit: SimpleNamespace(**{name: getattr(self, f"{unit}_{name}") for name in BITS.get(unit, ())})
                 for unit in STREAMS | BITS}
        for unit, names in STREAMS.items():
            for name in names:
                setattr(units[unit], name, SimpleNamespace(**{
                    end: getattr(self, f"{unit}_{name}_{end}") for end in ("valid", "ready")}))
        units["array"].o.p = SimpleNamespace(tag=self.array_tag)
        units["chain"].command.payload = SimpleNamespace(norm=self.chain_norm, lane_scale=self.chain_lane_scale)
        units["router"].i.p = SimpleNamespace(last=self.router_last, info=SimpleNamespace(dest=self.router_dest))
        units["back"].opcode, units["back"].dest = self.back_opcode, self.back_dest
        units["decoder"].LATENCY = LATENCY
        units["reader"].bus = SimpleNamespace(rvalid=self.reader_rvalid, rready=self.reader_rready)
        units["back_end"], units["front_end"] = units.pop("back"), units.pop("front")
        m.d.comb += [self.reasons.eq(stall_reasons(m, units)), self.word.eq(activity(m, units, self.charged))]
        keep = Signal()
        m.d.sync += keep.eq(~keep)  # a clock, whatever else there is
        return m


class Model:
    """What is meant, cycle by cycle."""

    def __init__(self):
        self.late = deque([dict.fromkeys(("waiting", "vector", "header", "taking"), 0)] * LATENCY, LATENCY)
        self.norm = self.running = self.loading = 0
        self.words = deque([0, 0], 2)

    def step(self, i):
        """(reasons by name, the word) of a cycle with the inputs `i`; the word's first member is of this cycle."""
        def moves(name):
            return i[f"{name}_valid"] & i[f"{name}_ready"]

        def waits(name):
            return i[f"{name}_valid"] & (1 - i[f"{name}_ready"])

        no = 1 - i["array_no_weights"]
        starved, no_task, full = 1 - no, i["array_no_task"], i["array_drain_full"]
        did = self.late[0]
        unread = starved & did["waiting"] & i["reader_idle"]
        walks = i["front_lookup_valid"] | i["front_found_ready"]
        rows = full & (1 - (i["array_o_valid"] & i["array_tag"]))
        held = no_task & i["back_waiting"]
        free = no_task & (1 - i["back_waiting"])
        opcode, dest = i["back_opcode"], i["back_dest"]
        linear = held & (opcode == Opcode.LINEAR)
        reasons = {
            "memory": starved & did["waiting"] & (1 - unread) | no_task & i["vectors_busy"] & i["decoder_waiting"],
            "kv_write": unread & i["front_waiting_kv"],
            "page_walk": unread & walks,
            "vector": starved & did["vector"] | free & moves("decoder_vector"),
            "header": starved & did["header"] | free & (1 - i["back_waiting_softmax"]) & i["decoder_header"],
            "bus": starved & did["taking"],
            "decoder": starved & (1 - unread),
            "drain_kv": rows & waits("router_kv"),
            "drain_quantiser": rows & waits("chain_o"),
            "drain_logits": rows & waits("chain_logits"),
            "drain_rms": rows & (1 - i["chain_busy"]) & waits("chain_command")
                         & (i["chain_lane_scale"] == LaneScale.RMS.value),
            "drain_norm": rows & self.norm,
            "drain_chain": rows,
            "operands": i["array_no_operands"],
            "softmax": full | no_task & i["back_waiting_softmax"],
            "dependency_linear": linear & (dest == Dest.OPERAND),
            "dependency_kv": linear & (dest in (Dest.QUERY, Dest.KEY, Dest.VALUE)),
            "dependency_attend": held & (opcode == Opcode.ATTEND),
            "dependency_logits": linear & (dest == Dest.LOGITS),
            "dependency_load": held & (opcode != Opcode.END),
            "pass_end": held & (opcode == Opcode.END),
            "prompt": i["sequence_request_valid"] | i["sequence_response_ready"],
            "sampling": i["sequence_sampled_ready"] | i["sequence_token_valid"],
            "fetch": unread | self.running & i["back_i_ready"] & (1 - i["back_i_valid"]),
            "command": self.running,
            "idle": 1,
        }
        members = {
            "begin": i["sequence_begin"], "forward": moves("front_o"), "take": moves("back_i"),
            "task": moves("array_task"), "start": i["array_begin"],
            "loaded": self.loading & i["vectors_command_ready"],
            "routed": moves("router_i") & i["router_last"] & (i["router_dest"] != QuantDest.PROBABILITY.value),
            "token": moves("sequence_sampled"), "done": i["back_done"], "waiting": i["back_waiting"],
            "kv_wait": i["front_waiting_kv"], "page_walk": walks, "read": 1 - i["reader_idle"],
            "beat": i["reader_rvalid"] & i["reader_rready"], "decoder": moves("decoder_i"),
            "drain": i["array_o_valid"], "writer": 1 - i["writer_idle"],
        } | {unit: i[f"{unit}_busy"] for unit in ("softmax", "chain", "quantiser", "router", "kv_store", "sampler",
                                                  "dump", "vectors")}
        shown = {"charged": i["charged"]} | (self.words[0] or dict.fromkeys(members, 0))
        self.words.append(members)
        self.late.append({"waiting": i["decoder_waiting"], "vector": moves("decoder_vector"),
                          "header": i["decoder_header"], "taking": moves("decoder_i")})
        if moves("chain_command"):
            self.norm = i["chain_norm"]
        if i["sequence_begin"] or i["back_done"]:
            self.running = i["sequence_begin"]
        self.loading = 1 - i["vectors_command_ready"]
        return {name: int(value) for name, value in reasons.items()}, shown


@cocotb.test()
async def every_cycle(dut):
    """Random signs, few and many at a time: each reason and each member of the word is what the table says."""
    bench = harness.Bench(dut, 1)
    rng = bench.rng
    await bench.reset()
    model, firsts = Model(), set()
    quiet = dict.fromkeys(PORTS, 0) | dict.fromkeys(WIDE, 0) | {"charged": 0}
    for name, value in quiet.items():
        getattr(dut, name).value = value
    await bench.wait(LATENCY + 2)
    model.loading = 1
    model.words.extend([{}, {}])
    idle, _ = Model().step(quiet)
    assert int(dut.reasons.value) >> len(STALLS) - 1 and idle["idle"]
    for _ in range(LATENCY + 2):
        model.step(quiet)
    before = quiet
    for cycle in range(16000):
        chance = (0.02, 0.1, 0.3, 0.7)[cycle // 50 % 4]
        i = {name: int(rng.random() < chance) for name in PORTS}
        i |= {name: rng.getrandbits(width) for name, width in WIDE.items()}
        i |= {"back_opcode": rng.choice(list(Opcode)), "charged": rng.getrandbits(REASON_BITS)}
        for name, value in i.items():
            if value != before[name]:
                getattr(dut, name).value = value
        before = i
        await FallingEdge(dut.clk)
        reasons, word = model.step(i)
        shown = int(dut.reasons.value)
        assert {name: shown >> place & 1 for place, name in enumerate(STALLS)} == reasons
        firsts.add(next(name for name in STALLS if reasons[name]))
        packed, at = 0, 0
        for name, width in ACTIVITY.items():
            packed |= int(word[name]) << at
            at += width
        assert int(dut.word.value) == packed
        await RisingEdge(dut.clk)
    assert not set(STALLS) - firsts


def test_accounting(sim):
    harness.run(Ports(), __name__, sim=sim)
