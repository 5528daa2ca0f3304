"""An AXI4 memory for testbenches that takes addresses and data in any order that the specification allows."""

import random
from collections import deque

import cocotb
from cocotb.triggers import RisingEdge

__all__ = ["ORDERS", "Everywhere", "Subordinate"]

BOUNDARY = 4096
OKAY, SLVERR = 0, 2
PATIENCE = 5_000  # cycles that something is offered and not taken

ORDERS = {
    "any": "addresses and data whenever they come",
    "address": "a beat only when the address of its burst has been taken",
    "data": "an address only when all data of its burst has been taken",
    "offer": "an address only while its first beat is offered, and that beat after it",
    "both": "an address and its first beat in the same cycle",
}


class Everywhere:
    """All of an address space, full of random bytes; what is written is only noted in `written`."""

    PART = 256  # bytes that are made at once

    def __init__(self, bench, addr_bits):
        self._size, self._key = 1 << addr_bits, bench.rng.getrandbits(64)
        self._parts = {}
        self.written = {}  # address to byte

    def __len__(self):
        return self._size

    def __getitem__(self, place):
        first, last = place.start // self.PART, (place.stop - 1) // self.PART
        for part in range(first, last + 1):
            if part not in self._parts:
                self._parts[part] = random.Random(self._key ^ part).randbytes(self.PART)
        found = b"".join(self._parts[part] for part in range(first, last + 1))
        return found[place.start - first * self.PART:place.stop - first * self.PART]

    def __setitem__(self, address, byte):
        self.written[address] = byte


class Subordinate:
    """Serves the AXI port of a component, and fails the test where the manager breaks a rule of AXI4.

    Rules: what is offered stays and does not change; bursts are INCR, aligned, of the bus's width, and within 4 KB;
    WLAST is where AWLEN says. A burst that is not wholly within `memory` or `broken` fails the test, too. Responses
    of one ID are in order, beats of different IDs are mixed.

    Parameters
    ----------
    bench : harness.Bench
    prefix : of the port's names, as in ``bus_`` for ``bus__awvalid``
    memory : bytearray, or `Everywhere`
    order : one of `ORDERS`
    stalls : chance of a cycle's pause on each channel
    base : address of ``memory[0]``
    broken : range of addresses that answer SLVERR
    bus_bytes : width of the bus

    Members
    -------
    reads, writes : (address, beats) of every burst, in the order of the addresses
    ahead : beats that came before the address of their burst
    beats : cycle of every write beat
    """

    def __init__(self, bench, prefix, memory, *, bus_bytes, order="any", stalls=0.0, base=0, broken=range(0)):
        assert order in ORDERS
        self.bench, self.memory, self.base, self.broken = bench, memory, base, broken
        self.bus_bytes, self.order, self.stalls = bus_bytes, order, stalls
        self._handles = {}
        for channel in ("aw", "w", "b", "ar", "r"):
            names = [f"{channel}{field}" for field in ("id", "addr", "len", "size", "burst", "data", "strb", "last",
                                                       "resp", "valid", "ready")]
            found = {name: getattr(bench.dut, f"{prefix}_{name}", None) for name in names}
            if found[f"{channel}valid"] is not None:
                self._handles[channel] = {name[len(channel):]: handle for name, handle in found.items()
                                          if handle is not None}
        self.reads, self.writes, self.beats, self.ahead = [], [], [], 0
        self._held, self._waits, self._ready = {}, {}, {}
        self._addresses, self._bursts, self._partial = deque(), deque(), []
        self._responses, self._requests = deque(), {}
        self._shown = {"b": None, "r": None}
        cocotb.start_soon(self._run())

    @property
    def idle(self):
        """Whether everything that was taken is answered."""
        return not (self._addresses or self._bursts or self._partial or self._responses or self._requests
                    or any(self._shown.values()))

    def _pause(self):
        return bool(self.stalls) and self.bench.rng.random() < self.stalls

    def _taken(self, channel):
        """What the manager hands over at this edge, or None."""
        handles = self._handles[channel]
        if not int(handles["valid"].value):
            assert channel not in self._held, f"{channel}valid fell before {channel}ready"
            return None
        item = {name: int(handle.value) for name, handle in handles.items() if name not in ("valid", "ready")}
        assert self._held.get(channel, item) == item, f"{channel} changed while it waited"
        if self._ready.get(channel):
            self._held.pop(channel, None)
            self._waits[channel] = 0
            return item
        self._held[channel] = item
        self._waits[channel] = self._waits.get(channel, 0) + 1
        assert self._waits[channel] < PATIENCE, f"{channel} is never taken"
        return None

    def _burst(self, item):
        """Checks an address; (address, beats, ID)."""
        address, beats = item["addr"], item["len"] + 1
        last = address + beats * self.bus_bytes - 1
        assert item["burst"] == 1 and 1 << item["size"] == self.bus_bytes and not address % self.bus_bytes
        assert address // BOUNDARY == last // BOUNDARY, f"burst of {beats} beats at {address:#x} crosses 4 KB"
        end = self.base + len(self.memory)
        assert (address in self.broken and last in self.broken) or self.base <= address <= last < end, \
            f"burst of {beats} beats at {address:#x} is outside the memory"
        return address, beats, item.get("id", 0)

    def _write(self):
        """Addresses and data meet."""
        while self._addresses and self._bursts:
            (address, beats, number), data = self._addresses.popleft(), self._bursts.popleft()
            assert len(data) == beats, f"{len(data)} beats up to WLAST; the burst at {address:#x} has {beats}"
            failed = address in self.broken
            for at, (value, strobe) in enumerate(data):
                content = value.to_bytes(self.bus_bytes, "little")
                for lane in range(self.bus_bytes):
                    if strobe >> lane & 1 and not failed:
                        self.memory[address - self.base + at * self.bus_bytes + lane] = content[lane]
            self._responses.append({"id": number, "resp": SLVERR if failed else OKAY})
        assert not self._addresses or len(self._partial) <= self._addresses[0][1], "beats beyond the burst"

    def _read(self, item):
        address, beats, number = self._burst(item)
        self.reads.append((address, beats))
        queue = self._requests.setdefault(number, deque())
        for k in range(beats):
            at = address - self.base + k * self.bus_bytes
            failed = address in self.broken
            data = 0 if failed else int.from_bytes(self.memory[at:at + self.bus_bytes], "little")
            queue.append({"id": number, "data": data, "resp": SLVERR if failed else OKAY, "last": int(k == beats - 1)})

    def _show(self, channel, take):
        """The answer that the manager sees from this edge on: the one that waits, or what `take` gives."""
        handles = self._handles[channel]
        if self._shown[channel] is not None and int(handles["ready"].value):
            self._shown[channel] = None
        if self._shown[channel] is None:
            self._shown[channel] = None if self._pause() else take()
            handles["valid"].value = int(self._shown[channel] is not None)
            for name, value in (self._shown[channel] or {}).items():
                handles[name].value = value

    def _response(self):
        return self._responses.popleft() if self._responses else None

    def _beat(self):
        if not self._requests:
            return None
        number = self.bench.rng.choice(sorted(self._requests))
        beat = self._requests[number].popleft()
        if not self._requests[number]:
            del self._requests[number]
        return beat

    def _allowed(self):
        """Which of the write channels may be ready in the next cycle, by the order; addresses and bursts go in turn."""
        lead = len(self._addresses) - len(self._bursts)  # bursts whose address came before all of their data
        begun = bool(self._partial)
        if self.order == "any":
            return True, True
        if self.order == "address":
            return True, lead > 0
        if self.order == "data":
            return lead < 0, True
        if self.order == "offer":
            return lead == 0 and "w" in self._held, lead > 0
        together = lead == 0 and {"aw", "w"} <= set(self._held)
        return together, begun or together

    async def _run(self):
        while True:
            await RisingEdge(self.bench.dut.clk)
            if not int(self.bench.dut.rst.value):
                self._step()

    def _step(self):
        ready = {}
        if "aw" in self._handles:
            if (item := self._taken("aw")) is not None:
                self._addresses.append(self._burst(item))
                self.writes.append(self._addresses[-1][:2])
            if (item := self._taken("w")) is not None:
                self.ahead += len(self._addresses) <= len(self._bursts)
                self.beats.append(self.bench.cycle)
                self._partial.append((item["data"], item["strb"]))
                if item["last"]:
                    self._bursts.append(self._partial)
                    self._partial = []
            self._write()
            self._show("b", self._response)
            ready["aw"], ready["w"] = self._allowed()
            if self.order == "both" and ready["aw"]:
                ready = dict.fromkeys(ready, not self._pause())
            else:
                ready = {channel: allowed and not self._pause() for channel, allowed in ready.items()}
        if "ar" in self._handles:
            if (item := self._taken("ar")) is not None:
                self._read(item)
            self._show("r", self._beat)
            ready["ar"] = not self._pause()
        for channel, value in ready.items():
            self._handles[channel]["ready"].value = int(value)
        self._ready = ready
