"""The arbiter between managers whose data comes before or after its address, and memories of every order."""

from collections import deque

import cocotb
import harness
from cocotb.triggers import RisingEdge
from scoville.board.arbiter import MemoryArbiter
from scoville.board.bus_access import LINK_ID
from scoville.config import get_config
from subordinate import ORDERS, Subordinate

CONFIG = get_config("slim")
WORD = CONFIG.bus_bytes
MEMORY = 1 << 14
COUNT = {"chip": 60, "link": 30}
LONGEST = {"chip": 12, "link": 1}
NUMBER = {"chip": 0, "link": LINK_ID}


class Manager:
    """Writes random bursts, an address and its data each at a pace of their own, and reads what it wrote.

    Neither waits for the other; `slow` is the chance that a channel pauses. The link has one access open at a time.
    """

    def __init__(self, bench, name, wanted, low, slow):
        self.bench, self.name, self.wanted, self.low, self.slow = bench, name, wanted, low, slow
        self.queues = {"aw": deque(), "w": deque(), "ar": deque()}
        self.offered = dict.fromkeys(self.queues)
        self.answers, self.reads, self.left = 0, deque(), COUNT[name]
        cocotb.start_soon(self.run())

    def handle(self, name):
        return getattr(self.bench.dut, f"{self.name}__{name}")

    @property
    def done(self):
        return not (self.left or self.answers or self.reads)

    def burst(self):
        rng = self.bench.rng
        beats = rng.choice([1, LONGEST[self.name], rng.randint(1, LONGEST[self.name])])
        address = self.low + WORD * rng.randrange(MEMORY // 2 // WORD - beats + 1)
        beats = min(beats, (4096 - address % 4096) // WORD)
        where = {"addr": address, "len": beats - 1, "size": WORD.bit_length() - 1, "burst": 1, "id": NUMBER[self.name]}
        if rng.random() < 0.7:
            self.answers += 1
            self.queues["aw"].append(where)
            for k in range(beats):
                content = rng.randbytes(WORD)
                self.wanted[address + k * WORD:address + (k + 1) * WORD] = content
                self.queues["w"].append({"data": int.from_bytes(content, "little"), "strb": (1 << WORD) - 1,
                                         "last": int(k == beats - 1)})
        elif not self.answers:  # a read is not ordered behind a write that is open
            self.queues["ar"].append(where)
            self.reads.extend(int.from_bytes(self.wanted[at:at + WORD], "little")
                              for at in range(address, address + beats * WORD, WORD))

    async def run(self):
        rng = self.bench.rng
        self.handle("bready").value = self.handle("rready").value = 1
        while True:
            await RisingEdge(self.bench.dut.clk)
            if int(self.bench.dut.rst.value):
                continue
            if int(self.handle("bvalid").value):
                assert int(self.handle("bid").value) == NUMBER[self.name] and self.answers
                assert not int(self.handle("bresp").value)
                self.answers -= 1
            if int(self.handle("rvalid").value):
                assert int(self.handle("rdata").value) == self.reads.popleft()
            open_accesses = self.answers + bool(self.reads)
            if self.left and not self.reads and open_accesses < (1 if self.name == "link" else 40):
                self.left -= 1
                self.burst()
            for channel, queue in self.queues.items():
                item = self.offered[channel]
                if item is not None and int(self.handle(f"{channel}ready").value):
                    self.offered[channel] = item = None
                if item is None and queue and rng.random() >= self.slow[channel]:
                    self.offered[channel] = queue.popleft()
                    for field, value in self.offered[channel].items():
                        self.handle(channel + field).value = value
                self.handle(f"{channel}valid").value = int(self.offered[channel] is not None)


@cocotb.test()
@cocotb.parametrize(order=list(ORDERS), slow=["aw", "w", ""])
async def orders(dut, order, slow):
    """Contents, and that neither the chip nor the link waits for ever."""
    tb = harness.Bench(dut, list(ORDERS).index(order))
    wanted = bytearray(MEMORY)
    memory = Subordinate(tb, "memory_", bytearray(MEMORY), bus_bytes=WORD, order=order, stalls=0.2)
    paces = {"aw": 0.2, "w": 0.2, "ar": 0.2} | ({slow: 0.95} if slow else {})
    managers = [Manager(tb, name, wanted, low, paces) for name, low in (("chip", 0), ("link", MEMORY // 2))]
    await tb.reset()
    while not all(manager.done for manager in managers):
        await tb.wait(1)
        assert tb.cycle < 30_000, "stuck"
    assert memory.idle and memory.memory == wanted


def test_arbiter_orders(sim):
    harness.run(MemoryArbiter(CONFIG), __name__, sim=sim)
