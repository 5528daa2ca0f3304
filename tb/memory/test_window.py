"""The guard by itself: every burst around the window's edges, whatever base, limit and address are."""

from collections import deque

import cocotb
import harness
import pytest
from cocotb.triggers import RisingEdge
from scoville.config import get_config
from scoville.memory.axi import BOUNDARY, MAX_BURST, Resp
from scoville.memory.window import Window
from subordinate import Everywhere, Subordinate

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
            if harness.peek(getattr(self.dut, f"i__{name}")):
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
            shown = tuple(harness.peek(getattr(self.dut, f"i__r{name}"))
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
        shown = tuple(harness.peek(getattr(self.dut, f"i__b{name}")) for name in ("id", "resp", "refused"))
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


class Traffic:
    """Bursts of both directions, as many open as the guard takes, while the window moves; each is judged when taken."""

    def __init__(self, dut, seed, stalls):
        self.dut, self.stalls = dut, stalls
        self.config = get_config(harness.parameters())
        self.word, self.bits = self.config.bus_bytes, self.config.addr_bits
        self.guard = Window(self.config)
        self.tb = harness.Bench(dut, seed)
        self.rng = self.tb.rng
        self.memory = Everywhere(self.tb, self.bits)
        self.bus = Subordinate(self.tb, "bus_", self.memory, bus_bytes=self.word, stalls=stalls)
        self.window, self.write_id = (0, 0), self.rng.randrange(4)
        self.due = {number: deque() for number in range(4)}  # read beats of each ID
        self.passed = {"ar": [], "aw": []}  # (address, beats)
        self.refused = {"ar": 0, "aw": 0}
        self.written, self.answers = {}, deque()
        self.left = {"ar": 0, "aw": 0}  # bursts still to offer
        self.shown = {"ar": None, "aw": None, "w": None}
        self.data = deque()  # beats of the write bursts that are due
        self.data_taken, self.ended = 0, 0  # write bursts

    def around(self):
        """An address with few bits set, or just below one, or any."""
        return self.rng.choice([1 << self.rng.randrange(self.bits), self.rng.getrandbits(self.bits),
                                (1 << self.bits) - 1, 0]) + self.word * self.rng.randrange(-9, 9) & (1 << self.bits) - 1

    def move(self):
        base = self.around() & -self.rng.choice([1, self.word, BOUNDARY])
        limit = self.rng.choice([base + self.rng.choice([self.rng.randrange(1 << 14), BOUNDARY]), self.around()])
        self.window = base, min(limit, (1 << self.bits) - 1)
        self.dut.base.value, self.dut.limit.value = self.window

    def burst(self, channel):
        """Another burst near an edge of the window, or like it but for one bit of its address."""
        beats = self.rng.choice([1, 1, 2, 3, self.rng.randrange(1, 9), self.rng.randrange(1, 257)])
        step = self.word * self.rng.choice([0, 0, 1, -1, -beats, 1 - beats, -1 - beats, self.rng.randrange(300)])
        address = self.rng.choice([self.window[0], self.window[0], self.window[1]]) + step
        if self.rng.random() < 0.3:
            address ^= 1 << self.rng.randrange(self.bits)
        burst = {"id": self.write_id if channel == "aw" else self.rng.randrange(4),
                 "addr": address % (1 << self.bits), "len": beats - 1}
        if channel == "aw":
            burst["data"] = [(self.rng.randbytes(self.word), self.rng.getrandbits(self.word)) for _ in range(beats)]
            self.data.extend((content, strobe, k == beats - 1) for k, (content, strobe) in enumerate(burst["data"]))
        return burst

    def taken(self, channel):
        return all(harness.peek(getattr(self.dut, f"i__{channel}{end}")) for end in ("valid", "ready"))

    def judge(self, channel, burst):
        """What comes of a burst that is taken."""
        address, beats = burst["addr"] & -self.word, burst["len"] + 1
        refused = not self.guard.model(burst["addr"], beats, base=self.window[0], limit=self.window[1])
        if refused:
            self.refused[channel] += 1
        else:
            self.passed[channel].append((address, beats))
        if channel == "ar":
            for k in range(beats):
                at = address + k * self.word
                data = 0 if refused else int.from_bytes(self.memory[at:at + self.word], "little")
                self.due[burst["id"]].append((data, 3 * refused, int(k == beats - 1), int(refused)))
            return
        self.answers.append((burst["id"], 3 * refused, int(refused)))
        for k, (content, strobe) in enumerate([] if refused else burst["data"]):
            for lane in range(self.word):
                if strobe >> lane & 1:
                    self.written[address + k * self.word + lane] = content[lane]

    def answer(self):
        def port(name):
            return harness.peek(getattr(self.dut, f"i__{name}"))

        if self.taken("r"):
            beat = tuple(port(f"r{name}") for name in ("data", "resp", "last", "refused"))
            assert beat == self.due[port("rid")].popleft()
            if beat[3]:
                others = sum(len(queue) for number, queue in self.due.items() if number != port("rid"))
                assert not others, "a refused read is answered while another one is open"
        if self.taken("b"):
            assert (port("bid"), port("bresp"), port("brefused")) == self.answers.popleft()
            self.ended += 1
            assert self.ended <= self.data_taken, "a write is answered before its data"

    def offer(self, channel, take):
        """Drives one of the manager's channels: what waits stays."""
        if self.shown[channel] is None and self.rng.random() >= self.stalls:
            self.shown[channel] = take()
        shown = self.shown[channel]
        getattr(self.dut, f"i__{channel}valid").value = int(shown is not None)
        for name, value in (shown or {}).items():
            if name != "data" or channel == "w":
                getattr(self.dut, f"i__{channel}{name}").value = value

    def next_burst(self, channel):
        if not self.left[channel]:
            return None
        self.left[channel] -= 1
        return self.burst(channel)

    def next_beat(self):
        if not self.data:
            return None
        content, strobe, last = self.data.popleft()
        return {"data": int.from_bytes(content, "little"), "strb": strobe, "last": int(last)}

    async def run(self, count):
        self.left = {"ar": count, "aw": count}
        while any(self.left.values()) or any(self.shown.values()) or self.answers or any(self.due.values()):
            await RisingEdge(self.dut.clk)
            self.answer()
            for channel in ("ar", "aw"):
                if self.taken(channel):
                    self.judge(channel, self.shown[channel])
                    self.shown[channel] = None
            if self.taken("w"):
                self.data_taken += self.shown["w"]["last"]
                self.shown["w"] = None
            if self.rng.random() < 0.03:
                self.move()
            for channel in ("ar", "aw"):
                self.offer(channel, lambda channel=channel: self.next_burst(channel))
            self.offer("w", self.next_beat)
            for channel in ("r", "b"):
                getattr(self.dut, f"i__{channel}ready").value = int(self.rng.random() >= self.stalls)
        assert self.bus.idle and self.memory.written == self.written
        assert (self.bus.reads, self.bus.writes) == (self.passed["ar"], self.passed["aw"])
        assert all(count // 20 < refused < count for refused in self.refused.values()), self.refused


@cocotb.test()
@cocotb.parametrize(stalls=[0.0, 0.3])
async def traffic(dut, stalls):
    """Side by side, and with windows anywhere: order, data, answers, and what reaches the bus."""
    system = Traffic(dut, 3 + int(10 * stalls), stalls)
    await system.tb.reset()
    system.move()
    await system.run(BURSTS // 2)


@cocotb.test()
async def open_bursts(dut):
    """As many as are counted go out without an answer; then two for every two answers.

    The second goes out while the first is not counted yet: there has to be room for both.
    """
    config = get_config(harness.parameters())
    tb = harness.Bench(dut, 2)
    most = (1 << Window.OPEN_BITS) - 1
    await tb.reset()
    dut.limit.value = (1 << config.addr_bits) - 1
    dut.i__rready.value = dut.i__bready.value = 1
    dut.bus__arready.value = dut.bus__awready.value = 1
    for prefix, answers in (("ar", ("rvalid", "rlast")), ("aw", ("bvalid",))):
        getattr(dut, f"i__{prefix}valid").value = 1
        sent = 0
        for _ in range(most + 8):
            await RisingEdge(dut.clk)
            sent += harness.peek(getattr(dut, f"bus__{prefix}valid"))
        assert sent == most
        if prefix == "aw":  # data of exactly those bursts passes
            dut.bus__wready.value = dut.i__wvalid.value = dut.i__wlast.value = 1
            passed = 0
            for _ in range(most + 8):
                await RisingEdge(dut.clk)
                passed += harness.peek(dut.bus__wvalid)
            assert passed == most
        for answer in range(40):
            shown = {f"{answers[0][0]}{name}": tb.rng.getrandbits(bits) for name, bits in (
                ("id", 2), ("resp", 2), *((("data", config.bus_bits),) if prefix == "ar" else ()))}
            for name, value in (shown | dict.fromkeys(answers, 1)).items():
                getattr(dut, f"bus__{name}").value = value
            await RisingEdge(dut.clk)
            for name, value in shown.items():  # the memory's answer, as it is
                assert harness.peek(getattr(dut, f"i__{name}")) == value, name
            for name in answers:
                getattr(dut, f"bus__{name}").value = 0
            sent = 0
            for _ in range(8):
                await RisingEdge(dut.clk)
                sent += harness.peek(getattr(dut, f"bus__{prefix}valid"))
            assert sent == 2 * (answer % 2)


@pytest.mark.parametrize("config", ["nano", "slim", "kria"])
def test_window(sim, config):
    harness.run(Window(get_config(config)), __name__, sim=sim, parameters=config)
