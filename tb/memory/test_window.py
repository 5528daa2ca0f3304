"""The guard by itself: every burst around the window's edges, whatever base, limit and address are."""

import cocotb
import harness
import pytest
from cocotb.triggers import RisingEdge
from scoville.config import get_config
from scoville.memory.axi import BOUNDARY, MAX_BURST, Resp
from scoville.memory.window import Window
from subordinate import Subordinate

MEMORY = 1 << 15
BURSTS = 400
TOP = 1 << 40


class Manager:
    """One burst after the other into the guard, as a manager that keeps no rule but those of the handshake."""

    def __init__(self, dut, seed, stalls):
        self.config = get_config(harness.parameters())
        self.word = self.config.bus_bytes
        self.guard = Window(self.config)
        self.tb, self.dut = harness.Bench(dut, seed), dut
        self.rng = self.tb.rng
        self.memory = bytearray(self.rng.randbytes(MEMORY))
        self.bus = Subordinate(self.tb, "bus_", self.memory, bus_bytes=self.word, stalls=stalls)
        self.window = (0, 0)

    async def until(self, name):
        """The edge at which a signal of the guard is high."""
        for _ in range(1000):
            await RisingEdge(self.dut.clk)
            if int(getattr(self.dut, f"i__{name}").value):
                return
        raise AssertionError(f"{name} stays low")

    def move(self):
        """Another window, with edges anywhere in memory, at its ends, or at multiples of 4 KB."""
        edges = [self.rng.choice([0, MEMORY, self.rng.randrange(MEMORY), BOUNDARY * self.rng.randrange(8),
                                  self.word * self.rng.randrange(MEMORY // self.word)]) for _ in range(2)]
        self.window = min(edges), max(edges) if self.rng.random() < 0.9 else min(edges)
        self.dut.base.value, self.dut.limit.value = self.window

    def burst(self):
        """(address, beats) near an edge of the window or of 4 KB, or far beyond it."""
        edge = self.rng.choice([*self.window, BOUNDARY * self.rng.randrange(9), TOP, TOP // 2 + self.window[0]])
        beats = self.rng.choice([1, 1, 2, 3, self.rng.randrange(1, 24)])
        if self.rng.random() < 0.05:
            beats = self.rng.choice([MAX_BURST, min(MAX_BURST, BOUNDARY // self.word)])
        address = edge + self.word * self.rng.choice([0, -1, 1, -beats, 1 - beats, -1 - beats])
        if self.rng.random() < 0.1:
            address += self.rng.randrange(self.word)
        return address % TOP, beats

    def allowed(self, address, beats):
        """By the guard's model, which is checked against the bytes of the burst."""
        base, limit = self.window
        first = address - address % self.word
        inside = all(base <= byte < limit for byte in (first, first + beats * self.word - 1)) and not (
            # The last word belongs to the window only with all its bytes.
            limit % self.word and first + beats * self.word > limit)
        verdict = self.guard.model(address, beats, base=base, limit=limit)
        assert verdict == (inside and first // BOUNDARY == (first + beats * self.word - 1) // BOUNDARY)
        return verdict

    async def read(self, address, beats):
        number = self.rng.randrange(4)
        for name, value in {"id": number, "addr": address, "len": beats - 1, "valid": 1}.items():
            getattr(self.dut, f"i__ar{name}").value = value
        await self.until("arready")
        self.dut.i__arvalid.value = 0
        refused = not self.allowed(address, beats)
        for k in range(beats):
            await self.until("rvalid")
            at = address - address % self.word + k * self.word
            data = 0 if refused else int.from_bytes(self.memory[at:at + self.word], "little")
            shown = tuple(int(getattr(self.dut, f"i__r{name}").value)
                          for name in ("id", "data", "resp", "last", "refused"))
            assert shown == (number, data, Resp.DECERR.value if refused else 0, k == beats - 1, refused)
        return refused

    async def write(self, address, beats):
        refused = not self.allowed(address, beats)
        wanted = bytearray(self.memory)
        number = self.rng.randrange(4)
        ahead = self.rng.random() < 0.5  # data before its address
        for name, value in {"id": number, "addr": address, "len": beats - 1}.items():
            getattr(self.dut, f"i__aw{name}").value = value

        async def hand_over():
            await self.tb.wait(self.rng.randrange(1, 20) if ahead else 1)
            self.dut.i__awvalid.value = 1
            await self.until("awready")
            self.dut.i__awvalid.value = 0

        address_task = cocotb.start_soon(hand_over())
        if not ahead:
            await self.tb.wait(self.rng.randrange(1, 20))
        for k in range(beats):
            content = self.rng.randbytes(self.word)
            at = address - address % self.word + k * self.word
            if not refused:
                wanted[at:at + self.word] = content
            self.dut.i__wdata.value = int.from_bytes(content, "little")
            self.dut.i__wstrb.value = (1 << self.word) - 1
            self.dut.i__wlast.value = int(k == beats - 1)
            self.dut.i__wvalid.value = 1
            await self.until("wready")
            self.dut.i__wvalid.value = 0
        await address_task
        await self.until("bvalid")
        shown = tuple(int(getattr(self.dut, f"i__b{name}").value) for name in ("id", "resp", "refused"))
        assert shown == (number, Resp.DECERR.value if refused else 0, refused)
        assert self.memory == wanted
        return refused


@cocotb.test()
@cocotb.parametrize(stalls=[0.0, 0.3])
async def edges(dut, stalls):
    """Refused if any byte is outside, or if the burst crosses 4 KB; answered in either case."""
    manager = Manager(dut, int(10 * stalls), stalls)
    await manager.tb.reset()
    dut.i__rready.value = dut.i__bready.value = 1
    refused = 0
    for number in range(BURSTS):
        if number % 4 == 0:
            manager.move()
        access = manager.rng.choice([manager.read, manager.write])
        refused += await access(*manager.burst())
    assert BURSTS // 5 < refused < BURSTS - BURSTS // 8
    assert manager.bus.idle and len(manager.bus.reads) + len(manager.bus.writes) == BURSTS - refused


@pytest.mark.parametrize("config", ["nano", "slim", "kria"])
def test_window(sim, config):
    harness.run(Window(get_config(config)), __name__, sim=sim, parameters=config)
