"""Random writes, for the testbenches of what writes."""

import harness
from scoville.config import get_config
from scoville.memory.writer import write_command_layout, write_data_layout

__all__ = ["MEMORY", "Writes"]

MEMORY = 1 << 17


class Writes:
    """Random writes into a component with a write bus, and what its memory of `MEMORY` bytes should hold."""

    def __init__(self, dut, seed):
        self.config = get_config(harness.parameters()["config"])
        self.tb = tb = harness.Bench(dut, seed)
        self.dut = dut
        self.wanted = bytearray(tb.np_rng.bytes(MEMORY))

    def burst(self, address, beats):
        """A random write: (packed command, packed beats), entered into what the memory should hold."""
        size = self.config.bus_bytes
        packed = []
        for k in range(beats):
            content = self.tb.rng.randbytes(size)
            strobe = self.tb.rng.choice([(1 << size) - 1, 0, self.tb.rng.getrandbits(size)])
            for byte in range(size):
                if strobe >> byte & 1 and address < MEMORY:
                    self.wanted[address + k * size + byte] = content[byte]
            packed.append(harness.pack(write_data_layout(self.config), {
                "data": int.from_bytes(content, "little"), "strobe": strobe}))
        return harness.pack(write_command_layout(self.config), {"address": address, "beats": beats}), packed

    def random_burst(self, base, size, longest=300):
        step = self.config.bus_bytes
        beats = min(self.tb.rng.choice([1, 1, 2, 8, longest]), size // step)
        return self.burst(base + step * self.tb.rng.randrange(size // step - beats + 1), beats)

    async def settle(self):
        while not int(self.dut.idle.value):
            await self.tb.wait(1)
