"""What every testbench stands on: clock, reset, and stream sources and sinks that stall and check the stream rules."""

import json
import os
import random
import time
from collections import deque

import cocotb
import numpy as np
from amaranth.hdl import Const, Shape, ShapeCastable
from amaranth.lib import data
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, Event, RisingEdge, Timer
from cover.observe import watch
from simulators import SIMULATORS, run, run_seed

__all__ = ["SIMULATORS", "Bench", "Sink", "Source", "assert_full_speed", "moves", "pack", "parameters", "pass_through",
           "peek", "run", "run_seed", "unpack"]

PERIOD = 10  # ns
RESET_CYCLES = 3
TIMEOUT = 50_000  # cycles that a test may wait for a stream without a transfer before it fails
CPU_LIMIT = 50  # seconds of processor time that a cocotb test may take before it fails


def parameters():
    """The `parameters` given to `run`, inside a cocotb test."""
    return json.loads(os.environ["SCOVILLE_TB"])["parameters"]


def _layout(shape):
    """The data.Layout of a shape, or None for plain numbers."""
    while isinstance(shape, ShapeCastable) and not isinstance(shape, data.Layout):
        shape = shape.as_shape()
    return shape if isinstance(shape, data.Layout) else None


def pack(shape, value):
    """A (nested) dict or list of numbers as the Python int that a port of this shape carries; missing fields are 0."""
    layout = _layout(shape)
    if layout is None:
        return Const.cast(value).value & ((1 << Shape.cast(shape).width) - 1)
    if isinstance(value, int) and not isinstance(layout, data.ArrayLayout):
        return value & ((1 << layout.size) - 1)
    items = value.items() if isinstance(value, dict) else enumerate(value)
    packed = 0
    for key, item in items:
        field = layout[key if isinstance(key, str) else int(key)]
        packed |= pack(field.shape, item if isinstance(item, dict | list | tuple | np.ndarray) else int(item)
                       ) << field.offset
    return packed


def unpack(shape, packed):
    """The inverse of `pack`: dicts for structs, lists for arrays, ints (negative where the field is) for numbers."""
    layout = _layout(shape)
    if layout is None:
        cast = Shape.cast(shape)
        packed &= (1 << cast.width) - 1
        return packed - (1 << cast.width) if cast.signed and packed >> (cast.width - 1) else packed
    if isinstance(layout, data.ArrayLayout):
        return [unpack(layout.elem_shape, packed >> field.offset) for _, field in layout]
    return {name: unpack(field.shape, packed >> field.offset) for name, field in layout}


def peek(handle):
    """The value of a signal as an unsigned integer: ``int(handle.value)`` without an object in between for each bit.

    Raises
    ------
    ValueError : a bit is unknown
    """
    try:
        return int(handle._handle.get_signal_val_binstr(), 2)
    except AttributeError:  # several signals that a testbench shows as one
        return int(handle.value)


def moves(dut, name):
    """Whether an item of the stream `name` goes over at this clock edge, 0 or 1."""
    return peek(getattr(dut, f"{name}__valid")) & peek(getattr(dut, f"{name}__ready"))


class Source:
    """Sends payloads into stream `name`; `accepted` and `cycles` are what the component took, and when."""

    def __init__(self, bench, name, stalls):
        self.bench, self.name, self.stalls = bench, name, stalls
        self._valid = getattr(bench.dut, f"{name}__valid")
        self._ready = getattr(bench.dut, f"{name}__ready")
        self._payload = getattr(bench.dut, f"{name}__payload", None)
        self.timeout = TIMEOUT
        self._watcher = watch(name)
        self.clear()

    def clear(self):
        self.queue, self.accepted, self.cycles, self._pending = deque(), [], [], None
        self._valid.value = 0

    def send(self, payloads):
        """Queue payloads: packed Python ints."""
        self.queue.extend(payloads)

    @property
    def account(self):
        last = f", the last at cycle {self.cycles[-1]}" if self.cycles else ""
        waiting = len(self.queue) + (self._pending is not None)
        return f"{len(self.accepted)} taken{last}; {waiting} more to send"

    @property
    def idle(self):
        return not self.queue and self._pending is None

    async def drain(self):
        """Wait until the component has accepted everything queued."""
        count, since = len(self.accepted), self.bench.cycle
        while not self.idle:
            await self.bench.wait(1)
            if len(self.accepted) != count:
                count, since = len(self.accepted), self.bench.cycle
            elif self.bench.cycle - since > self.timeout:
                self.bench.fail(f"stream {self.name}: none of {len(self.queue) + (self._pending is not None)} payloads "
                                f"taken for {self.timeout} cycles")

    def step(self):
        pending = self._pending
        if self._watcher is not None:
            self._watcher.cycle(pending, peek(self._ready))
        if pending is not None:
            if not peek(self._ready):
                return
            self.accepted.append(pending)
            self.cycles.append(self.bench.cycle)
        if self.queue and not (self.stalls and self.bench.rng.random() < self.stalls):
            self._pending = payload = int(self.queue.popleft())
            if self._payload is not None:
                self._payload.value = payload
            if pending is None:
                self._valid.value = 1
        elif pending is not None:
            self._pending = None
            self._valid.value = 0


class Sink:
    """Takes payloads from stream `name`, and fails the test if the component breaks a stream rule.

    With stalls, now and then ready stays low until valid is high: a component whose valid waits for ready then hangs.
    `every` makes it a slow consumer: ready in one cycle of so many.
    """

    def __init__(self, bench, name, stalls):
        self.bench, self.name, self.stalls = bench, name, stalls
        self._valid = getattr(bench.dut, f"{name}__valid")
        self._ready = getattr(bench.dut, f"{name}__ready")
        self._payload = getattr(bench.dut, f"{name}__payload", None)
        self.timeout = TIMEOUT
        self.every = 1
        self._event = Event()
        self._watcher = watch(name)
        self.clear()

    def clear(self):
        self.received, self.cycles = [], []
        self._taken, self._wanted, self._progress = 0, 0, self.bench.cycle
        self._waiting, self._is_ready, self._hold = None, False, False
        self._ready.value = 0

    async def receive(self, n):
        """The next `n` payloads, as packed Python ints."""
        self._wanted = self._taken + n
        self._progress = self.bench.cycle
        while len(self.received) < self._wanted:
            self._event.clear()
            await self._event.wait()
        taken = self.received[self._taken:self._wanted]
        self._taken, self._wanted = self._wanted, 0
        return taken

    @property
    def account(self):
        last = f", the last at cycle {self.cycles[-1]}" if self.cycles else ""
        return f"{len(self.received)} came{last}; {max(self._wanted - len(self.received), 0)} more awaited"

    def _fail(self, what):
        self.bench.fail(f"stream {self.name}: {what}")

    def step(self):
        valid = peek(self._valid)
        if valid:
            payload = 0 if self._payload is None else peek(self._payload)
            if self._waiting is not None and payload != self._waiting:
                self._fail(f"payload changed from {self._waiting:#x} to {payload:#x} while waiting for ready")
            if self._is_ready:
                self._waiting = None
                self.received.append(payload)
                self._progress = self.bench.cycle
                self.cycles.append(self.bench.cycle)
                if len(self.received) == self._wanted:
                    self._event.set()
            else:
                self._waiting = payload
        elif self._waiting is not None:
            self._fail("valid fell before ready")
        if self._watcher is not None:
            self._watcher.cycle(payload if valid else None, self._is_ready)
        if self._wanted > len(self.received) and self.bench.cycle - self._progress > self.timeout:
            self._fail(f"{len(self.received) - self._taken} of {self._wanted - self._taken} payloads came, "
                       f"then none for {self.timeout} cycles")
        ready = self.bench.cycle % self.every == 0
        if self.stalls:
            draw = self.bench.rng.random()
            self._hold = (self._hold or draw < self.stalls / 16) and not valid
            ready = draw >= self.stalls and not self._hold
        if ready != self._is_ready:
            self._ready.value = int(ready)
            self._is_ready = ready


class Bench:
    """Clock, reset and streams of the component under test.

    Parameters
    ----------
    dut : the top handle; every input port is 0 until it is driven
    seed : joined to the seed of the run
    cpu_limit : seconds of processor time from now on after which the test fails

    Members
    -------
    rng, np_rng : seeded random generators (`random.Random`, `numpy.random.Generator`) for stalls and test vectors
    cycle : clock edges seen since the bench was made
    """

    def __init__(self, dut, seed=0, cpu_limit=CPU_LIMIT):
        self.dut = dut
        self.seed = f"{cocotb.RANDOM_SEED}/{seed}"
        self.rng = random.Random(self.seed)
        self.np_rng = np.random.default_rng([int(cocotb.RANDOM_SEED) & 0xFFFFFFFF, int(seed)])
        self.cycle = 0
        self._cpu_limit, self._deadline = cpu_limit, time.process_time() + cpu_limit
        self.sources, self.sinks, self._watchers = [], [], []
        self._clock = getattr(dut, "clk", None)
        self._reset = getattr(dut, "rst", None)
        self._in_reset = True
        self._running = False
        ports = json.loads(os.environ["SCOVILLE_TB"])
        self._outputs = ports["outputs"]
        self._handshakes = [name.removesuffix("valid") for name in ports["inputs"] + ports["outputs"]
                            if name.endswith("valid")]
        for name in ports["inputs"]:
            if (handle := getattr(dut, name, None)) is not None:
                handle.value = 0

    def source(self, name, stalls=0.0):
        """A driver of input stream `name`; `stalls` is the probability that it waits before it offers a payload."""
        self.sources.append(Source(self, name, stalls))
        return self.sources[-1]

    def sink(self, name, stalls=0.0):
        """A receiver of output stream `name`; `stalls` is the probability that ready is low in a cycle."""
        self.sinks.append(Sink(self, name, stalls))
        return self.sinks[-1]

    def each_cycle(self, function):
        """Call `function()` at every clock edge that is not in reset, when the streams have seen that edge.

        A task of its own would cost a scheduler's round a cycle.
        """
        self._watchers.append(function)

    def streams(self):
        """The state of every stream and bus channel of the component, a line each."""
        agents = {agent.name: agent for agent in self.sources + self.sinks}
        lines = []
        for prefix in self._handshakes:
            name = prefix.rstrip("_")
            state = " ".join(f"{end}={getattr(self.dut, prefix + end).value}" for end in ("valid", "ready")
                             if hasattr(self.dut, prefix + end))
            agent = agents.get(name)
            lines.append(f"  {name}: {state}" + (f", {agent.account}" if agent else ""))
        return lines

    def fail(self, what):
        """End the test with this message, and the state of every stream."""
        text = f"{what}, at cycle {self.cycle}; seed {self.seed}"
        raise AssertionError("\n".join([text, *self.streams()]))

    async def until(self, signal, timeout=TIMEOUT):
        """Wait until `signal`, which then stays, is high; fail once no output has changed for `timeout` cycles."""
        seen, since = None, self.cycle
        while not int(signal.value):
            state = [getattr(self.dut, name).value for name in self._outputs]
            if state != seen:
                seen, since = state, self.cycle
            elif self.cycle - since >= timeout:
                self.fail(f"no output changed for {timeout} cycles while the test waits for {signal._name}")
            await self.wait(64)

    def _edge(self):
        # A purely combinational component has no clock; a period of time then stands for a cycle.
        return Timer(PERIOD, "ns") if self._clock is None else RisingEdge(self._clock)

    async def wait(self, cycles=1):
        """Wait for `cycles` clock edges."""
        if self._clock is None:
            await Timer(PERIOD * cycles, "ns")
        else:
            await ClockCycles(self._clock, cycles)

    async def reset(self):
        """Start the clock if needed and reset the component; streams start empty."""
        self._in_reset = True
        for agent in self.sources + self.sinks:
            agent.clear()
        if self._reset is not None:
            self._reset.value = 1
        if not self._running:
            self._running = True
            await Timer(1, "ns")  # the clock starts with a rising edge: reset has to be high by then
            if self._clock is not None:
                Clock(self._clock, PERIOD, "ns").start()
            cocotb.start_soon(self._loop())
        await self.wait(RESET_CYCLES)
        if self._reset is not None:
            self._reset.value = 0
        await self._edge()
        self._in_reset = False

    async def _loop(self):
        """One task steps every stream: a task each would cost a scheduler round a stream a cycle."""
        while True:
            await self._edge()
            running = not self._in_reset
            if running:
                for agent in self.sources:
                    agent.step()
                for agent in self.sinks:
                    agent.step()
            self.cycle += 1
            for function in self._watchers if running else ():
                function()
            if not self.cycle % 256 and time.process_time() > self._deadline:
                self.fail(f"not done after {self._cpu_limit} seconds of processor time")


async def pass_through(dut, seed, stalls, count=300):
    """Send random items from stream `i` to stream `o` of a component that changes none; returns source and sink."""
    bench = Bench(dut, seed)
    source, sink = bench.source("i", stalls), bench.sink("o", stalls)
    await bench.reset()
    items = [bench.rng.getrandbits(len(dut.i__payload)) for _ in range(count)]
    source.send(items)
    assert await sink.receive(count) == items == source.accepted
    return source, sink


def assert_full_speed(source, sink, latency):
    """An item a cycle on both sides, and `latency` cycles from one to the other."""
    for cycles in (source.cycles, sink.cycles):
        assert cycles[-1] - cycles[0] == len(cycles) - 1
    assert sink.cycles[0] - source.cycles[0] == latency
