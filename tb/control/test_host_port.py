"""The host port: start, soft reset, what a start clears, interrupts and STATUS, against a model of every cycle."""

import cocotb
import harness
from cocotb.triggers import FallingEdge, RisingEdge
from scoville.config import get_config
from scoville.control.host_port import IRQ, NO_TOKEN, STATUS, TOKEN_QUEUE, HostPort

LATENCY = 2  # cycles of the token FIFO


class Model:
    """What the registers of the port hold; `step` is a clock edge, `outputs` what it shows before it."""

    def __init__(self):
        self.stop = self.reset = self.resetting = self.waiting = self.done = self.saturated = 0
        self.was_fault = self.was_idle = 0
        self.events, self.tokens = 0, []  # tokens: [age, value]

    def outputs(self, i):
        """The ports, from the inputs of the cycle."""
        asked = i["control"] & 1 | self.waiting
        due = i["control"] >> 1 | self.resetting
        out = {"start": asked & ~due & ~i["running"] & ~i["fault"] & 1, "misuse": asked & ~due & i["running"] & 1,
               "reset": self.reset, "resetting": self.resetting, "stop": self.stop,
               "busy": self.waiting | self.resetting | i["running"] | i["fault"],
               "shown": self.tokens[0][1] if self.visible() else NO_TOKEN,
               "events": self.events, "interrupt": int(bool(self.events & i["enable"])),
               "token__ready": int(len(self.tokens) - self.visible() < TOKEN_QUEUE - 1)}
        return out | {"status": {
            "running": i["running"] | self.waiting, "done": self.done, "error": i["fault"],
            "saturated": self.saturated, "idle_bus": self.was_idle, "resetting": self.resetting, "unused": 0,
            "code": i["code"], "waiting": len(self.tokens)}}

    def visible(self):
        """Whether the first token has come through the FIFO."""
        return int(bool(self.tokens) and self.tokens[0][0] >= LATENCY)

    def step(self, i):
        out = self.outputs(i)
        asked, due = i["control"] & 1 | self.waiting, i["control"] >> 1 | self.resetting
        clear = out["start"] | self.reset
        entered = i["token__valid"] & out["token__ready"]
        happened = entered | i["finished"] << 1 | (i["fault"] & (1 - self.was_fault | asked & ~due)) << 2
        self.events = 0 if out["start"] else self.events & ~i["clear_events"] | happened
        self.done = 0 if clear else self.done | i["finished"]
        self.saturated = 0 if clear else self.saturated | i["clipped"]
        if self.visible() and i["pop"]:
            self.tokens.pop(0)
        if self.tokens:  # the first one moves to the output; the others wait where they came in
            self.tokens[0][0] += 1
        if entered:
            self.tokens.append([1, i["token__payload"]])
        if clear:
            self.tokens = []
        reset = self.resetting & self.stop & ~self.reset & i["bus_idle"]
        self.stop, self.waiting = i["fault"] | self.resetting, asked & due
        self.resetting = 1 if i["control"] >> 1 else self.resetting & ~self.reset
        self.reset, self.was_fault, self.was_idle = reset, i["fault"], i["bus_idle"]


@cocotb.test()
async def every_cycle(dut):
    """Random hosts, sequences and buses; the surroundings keep what the chip keeps, so that the assertions hold."""
    bench = harness.Bench(dut, 1)
    rng = bench.rng
    seen = dict.fromkeys(("start", "misuse", "reset", "waited", "full", "refused"), 0)
    for chance in (0.02, 0.2):
        await bench.reset()
        model = Model()
        names = ("control", "clear_events", "enable", "token__valid", "token__payload", "pop", "running", "finished",
                 "fault", "code", "clipped", "bus_idle")
        i, out = dict.fromkeys(names, 0), {"token__ready": 1}
        for _ in range(6000):
            draw = {name: int(rng.random() < chance) for name in names}
            if not i["token__valid"] or out["token__ready"] or not i["running"]:
                i["token__valid"] = int(i["running"] and rng.random() < 0.3)
                i["token__payload"] = rng.getrandbits(32)
            i |= {"control": rng.getrandbits(2) if draw["control"] else 0, "enable": 7 if chance < 0.1 else 5,
                  "clear_events": rng.getrandbits(3) if draw["clear_events"] else 0, "clipped": draw["clipped"],
                  "pop": int(rng.random() < (0.5 if chance > 0.1 else 0.2)),
                  "bus_idle": int(rng.random() < 0.3 or i["bus_idle"] and model.stop),
                  "finished": draw["finished"] & i["running"] & ~i["fault"]}
            i["fault"] |= int(rng.random() < 0.004)
            i["code"] = 5 * i["fault"]
            for name, value in i.items():
                getattr(dut, name).value = value
            await FallingEdge(dut.clk)
            out = model.outputs(i)
            status = out.pop("status")
            assert harness.unpack(STATUS, harness.peek(dut.status)) == status
            shown = {name: harness.peek(getattr(dut, name)) for name in out}
            assert shown == out, (shown, out)
            seen["start"] += out["start"]
            seen["misuse"] += out["misuse"]
            seen["reset"] += out["reset"]
            seen["waited"] += model.waiting
            seen["full"] += not out["token__ready"]
            seen["refused"] += i["control"] == 1 and i["fault"] and not model.resetting
            model.step(i)
            await RisingEdge(dut.clk)
            # The sequence and the fault latch, as the chip has them.
            i["running"] = int(out["start"] or i["running"] and not i["finished"] and not i["fault"])
            if out["reset"]:
                i["running"] = i["fault"] = i["token__valid"] = 0
    assert all(count > 5 for count in seen.values()), seen


@cocotb.test()
async def start_clears(dut):
    """Unread tokens and events of one sequence are not seen by the next; a full FIFO comes back whole and in order."""
    bench = harness.Bench(dut, 2)
    source = bench.source("token")
    await bench.reset()
    for count in (1, TOKEN_QUEUE):
        tokens = [bench.rng.getrandbits(32) for _ in range(count)]
        dut.running.value = 1
        source.send(tokens)
        await bench.wait(count + 5)
        assert harness.unpack(STATUS, harness.peek(dut.status))["waiting"] == count
        assert harness.peek(dut.shown) == tokens[0]
        dut.finished.value = 1
        await bench.wait(1)
        dut.finished.value = dut.running.value = 0
        await bench.wait(2)
        assert harness.unpack(IRQ, harness.peek(dut.events)) == {"token": 1, "done": 1, "error": 0}
        dut.control.value = 1
        await bench.wait(1)
        dut.control.value = 0
        await FallingEdge(dut.clk)
        status = harness.unpack(STATUS, harness.peek(dut.status))
        assert (status["waiting"], status["done"]) == (0, 0)
        assert (harness.peek(dut.events), harness.peek(dut.shown)) == (0, NO_TOKEN)
        dut.running.value = 1
        source.send([7])
        await bench.wait(5)
        assert harness.peek(dut.shown) == 7
        dut.running.value = 0
        dut.pop.value = 1
        await bench.wait(1)
        dut.pop.value = 0
        await bench.wait(1)


@cocotb.test()
async def full(dut):
    """A token waits while the queue is full, and enters once the host has read one."""
    bench = harness.Bench(dut, 3)
    source = bench.source("token")
    await bench.reset()
    dut.running.value = 1
    tokens = [bench.rng.getrandbits(32) for _ in range(TOKEN_QUEUE + 1)]
    source.send(tokens)
    await bench.wait(TOKEN_QUEUE + 10)
    assert source.accepted == tokens[:-1]
    dut.pop.value = 1
    await bench.wait(1)
    dut.pop.value = 0
    await bench.wait(3)
    assert source.accepted == tokens and harness.peek(dut.shown) == tokens[1]


def test_host_port(sim):
    harness.run(HostPort(get_config("nano")), __name__, sim=sim)
