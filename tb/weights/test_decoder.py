"""rtl/scoville/weights/decoder.py: random commands against the model, all ways to cut beats, and a beat a cycle."""

import gc
from itertools import product

import cocotb
import harness
import numpy as np
import pytest
from cocotb.triggers import RisingEdge
from scoville.config import ChipConfig, get_config
from scoville.isa import ScaleFormat
from scoville.weights.decoder import WeightDecoder, weight_block
from scoville.weights.walk import WeightCommand, WeightKind

# Beats of several items, and a group of four k-blocks; and items of 32 beats with R = 8
CUT = ChipConfig(name="cut", bus_bytes=128, rows=1, lanes=1, k_quants=True)
JOIN = ChipConfig(name="join", bus_bytes=16, rows=8, lanes=1, max_head_blocks=2)
CONFIGS = {config.name: config for config in (get_config("nano"), get_config("kria"), CUT, JOIN)}


def align(size, bus):
    return -(-size // bus) * bus


def command_bytes(config, command):
    """Bytes of a command's part of the stream, from the layouts in docs/design.md."""
    bus, kblocks = config.bus_bytes, command["kblocks"]
    if command["kind"] == WeightKind.VECTOR:
        return bus * command["tiles"]
    if command["kind"] == WeightKind.KEY:
        return 2 * align(32 * kblocks, bus) + 1024 * kblocks
    if command["kind"] == WeightKind.VALUE:
        return 1024 * command["tiles"]
    size = 0
    for first in range(0, kblocks, config.group):
        n = min(config.group, kblocks - first)
        minimum = command["minimum"]
        if command["scale_format"] == ScaleFormat.TWO_LEVEL:
            if first % 8 == 0:
                size += align(64, bus) + align(384 if minimum else 512, bus) + align(64 * minimum, bus)
        else:
            size += align(32 * n * command["scale_format"], bus) + align(64 * n * minimum, bus)
        size += align(128 * n * command.get("high_bits", 0), bus) + n * 32 * (32 if command["code_bits8"] else 16)
    return size * command["tiles"]


def random_command(rng, config):
    kind = WeightKind(rng.choice([0, 1, 1, 1, 2, 3]))
    linear = kind == WeightKind.LINEAR
    heads = rng.randint(1, config.max_head_blocks)
    if linear and config.k_quants and rng.random() < 0.7:
        two_level, bits8 = rng.getrandbits(1), int(rng.random() < 0.2)
        return {
            "kind": kind.value, "tiles": rng.randint(1, 2), "code_bits8": bits8,
            "kblocks": 8 * rng.randint(1, 2) if two_level else rng.randint(1, 2 * config.group + 1),
            "scale_format": 3 if two_level else rng.randrange(3), "minimum": rng.getrandbits(1),
            "high_bits": 0 if bits8 else rng.randrange(3)}
    return {
        "kind": kind.value,
        "tiles": {WeightKind.VECTOR: rng.randint(1, 9), WeightKind.LINEAR: rng.randint(1, 3),
                  WeightKind.KEY: 1, WeightKind.VALUE: heads}[kind],
        "kblocks": rng.randint(1, 2 * config.group + 1) if linear else heads,
        "code_bits8": rng.getrandbits(1), "scale_format": rng.randrange(3), "minimum": rng.getrandbits(1),
    }


def random_beats(rng, np_rng, config, command):
    """Random bytes, but no FP16 infinities."""
    command = command | {"kind": WeightKind(command["kind"])}
    data = np_rng.integers(0, 256, command_bytes(config, command), dtype=np.uint8)
    if command["scale_format"] >= ScaleFormat.FP16 or command["minimum"]:
        data[1::2] &= 0xBF
    data[data == 255] = 254
    return data.reshape(-1, config.bus_bytes)


def value_of(scale):
    return (-1) ** scale["sign"] * scale["significand"] * 2.0 ** scale["exponent"]


def check_items(config, packed, expected, minimum):
    layout = weight_block(config)
    for index, item in enumerate(packed):
        item = harness.unpack(layout, item)
        np.testing.assert_array_equal(np.reshape(item["codes"], (config.rows, 32)), expected["codes"][index])
        assert [value_of(s) for s in item["scale"]] == expected["scale"][index].tolist()
        assert item["has_minimum"] == minimum
        if config.k_quants:
            assert item["integers"] == expected["integers"][index].tolist()
            assert not minimum or item["minimum_integers"] == expected["minimum_integers"][index].tolist()
        if minimum:
            assert [value_of(s) for s in item["minimum"]] == expected["minimum"][index].tolist()


async def start(dut, seed, stalls):
    config = CONFIGS[harness.parameters()]
    tb = harness.Bench(dut, seed)
    ports = {name: tb.source(name, stalls) for name in ("command", "i")}
    ports |= {name: tb.sink(name, stalls) for name in ("vector", "exponents", "o")}
    await tb.reset()
    cocotb.start_soon(watch(dut))
    table = await new_table(dut, tb)
    if not stalls:
        await tb.wait(16)  # the table's; with stalls the first codes come before it is there
    return config, tb, ports, table


async def new_table(dut, tb):
    """16 values of any kind."""
    table = tb.np_rng.integers(-128, 128, 16).astype(np.int8)
    dut.table_data.value = int.from_bytes(table.tobytes(), "little")
    dut.table_en.value = 1
    await RisingEdge(dut.clk)
    dut.table_en.value = 0
    return table


async def watch(dut):
    """`waiting` and `header` are about the beats, in every cycle."""
    while True:
        await RisingEdge(dut.clk)
        valid, ready = harness.peek(dut.i__valid), harness.peek(dut.i__ready)
        assert harness.peek(dut.waiting) == (ready and not valid)
        assert not harness.peek(dut.header) or valid and ready


def send(ports, config, command, beats):
    ports["command"].send([harness.pack(WeightCommand, command)])
    ports["i"].send([int.from_bytes(beat.tobytes(), "little") for beat in beats])


@cocotb.test()
async def random_commands(dut):
    config, tb, ports, table = await start(dut, 1, 0.25)
    keys = [{"kind": WeightKind.KEY.value, "tiles": 1, "kblocks": 1 + turn % config.max_head_blocks}
            for turn in reversed(range(6))]  # of every size
    commands = [random_command(tb.rng, config) | key for key in [{}] * 12 + keys]
    streams = [random_beats(tb.rng, tb.np_rng, config, command) for command in commands]
    for command, beats in zip(commands, streams, strict=True):
        send(ports, config, command, beats)
    headers = 0
    for command, beats in zip(commands, streams, strict=True):
        expected = WeightDecoder.model(config, command, beats, table)
        for name in ("vector", "exponents"):
            got = await ports[name].receive(len(expected[name]))
            assert got == [int.from_bytes(beat.tobytes(), "little") for beat in expected[name]]
        linear = WeightKind(command["kind"]) == WeightKind.LINEAR
        items = await ports["o"].receive(len(expected["codes"]))
        check_items(config, items, expected, command["minimum"] if linear else 0)
        headers += len(expected["vector"]) + len(expected["exponents"])
    assert ports["i"].idle and headers


@cocotb.test()
async def full_throughput(dut):
    config, tb, ports, codes = await start(dut, 2, 0.0)
    linear = {"kind": WeightKind.LINEAR.value, "kblocks": 2 * config.group + 1}
    q4_1 = linear | {"tiles": 2, "code_bits8": 0, "scale_format": ScaleFormat.FP16.value, "minimum": 1}
    q6_k = linear | {"tiles": 2, "kblocks": 16, "code_bits8": 0, "scale_format": ScaleFormat.TWO_LEVEL.value,
                     "minimum": 0, "high_bits": 2}
    q5_k = q6_k | {"minimum": 1, "high_bits": 1}
    mx8 = linear | {"tiles": 2, "code_bits8": 1, "scale_format": ScaleFormat.E8M0.value, "minimum": 0}
    key = {"kind": WeightKind.KEY.value, "tiles": 1, "kblocks": config.max_head_blocks}
    value = {"kind": WeightKind.VALUE.value, "tiles": config.max_head_blocks, "kblocks": 1}
    rest = {"code_bits8": 0, "scale_format": 0, "minimum": 0}
    vector = {"kind": WeightKind.VECTOR.value, "tiles": 5, "kblocks": 0}
    table = [q4_1, mx8, key | rest, vector | rest, value | rest, q4_1]
    if config.k_quants:
        table += [q6_k, q5_k, q4_1 | {"high_bits": 1}, key | rest, q5_k | {"high_bits": 0}]
    total, done, code_beats = 0, 0, 0
    for command in table:
        beats = random_beats(tb.rng, tb.np_rng, config, command)
        total += len(beats)
        send(ports, config, command, beats)
        items = len(WeightDecoder.model(config, command, beats, codes)["codes"])
        half = command["kind"] == WeightKind.LINEAR.value and not command["code_bits8"]
        done, code_beats = done + items, code_beats + items * config.rows * (16 if half else 32) // config.bus_bytes
    taken = waited = 0
    while len(ports["o"].received) < done:
        await RisingEdge(dut.clk)
        taken += harness.peek(dut.header)
        waited += harness.peek(dut.waiting)
    cycles = ports["i"].cycles
    assert len(cycles) == total
    if config.bus_bytes <= 16 * config.rows:
        assert cycles[-1] - cycles[0] == total - 1  # every beat at once: no bubble anywhere
    else:
        # Items are what limits; only headers longer than the items of a beat can hold them up.
        out = ports["o"].cycles
        assert out[-1] - out[0] < done + taken
    items = [command_bytes(config, command | {"kind": WeightKind(command["kind"])}) for command in table]
    assert sum(items) == total * config.bus_bytes
    assert taken == total - code_beats
    assert waited <= 6  # before the first beat and after the last only


@cocotb.test()
async def headers_hide_behind_items(dut):
    """A consumer that keeps an item for each of `phases` tokens never waits for a header."""
    config, tb, ports, table = await start(dut, 3, 0.0)
    ports["o"].every = config.phases
    q4_1 = {"kind": WeightKind.LINEAR.value, "kblocks": 2 * config.group + 1, "tiles": 3, "code_bits8": 0,
            "scale_format": ScaleFormat.FP16.value, "minimum": 1}
    beats = random_beats(tb.rng, tb.np_rng, config, q4_1)
    send(ports, config, q4_1, beats)
    await ports["o"].receive(len(WeightDecoder.model(config, q4_1, beats, table)["codes"]))
    cycles = ports["o"].cycles
    if config.phases > 1:
        assert cycles[-1] - cycles[0] == config.phases * (len(cycles) - 1)


@cocotb.test()
async def tables(dut):
    """Every code of every table, with scales, minimums and high bits of all formats; and codes without a table."""
    config, tb, ports, table = await start(dut, 4, 0.0)
    highest = 3 if config.k_quants else 1
    kinds = [(0, high_bits) for high_bits in range(highest)] + [(1, 0)]
    for (bits8, high_bits), scale, minimum in product(kinds, range(4 if config.k_quants else 3), range(2)):
        two_level = scale == ScaleFormat.TWO_LEVEL
        command = {"kind": WeightKind.LINEAR.value, "tiles": 1, "kblocks": 8 if two_level else 1, "code_bits8": bits8,
                   "scale_format": scale, "minimum": minimum, "high_bits": high_bits}
        beats = random_beats(tb.rng, tb.np_rng, config, command)
        send(ports, config, command, beats)
        expected = WeightDecoder.model(config, command, beats, table)
        check_items(config, await ports["o"].receive(len(expected["codes"])), expected, command["minimum"])
        table = await new_table(dut, tb)
        await tb.wait(tb.rng.choice([1, 20]))


VECTOR = {"kind": WeightKind.VECTOR.value, "tiles": 3, "kblocks": 0, "code_bits8": 0, "scale_format": 0, "minimum": 0}


@cocotb.test()
async def headers_wait_for_their_codes(dut):
    """A slow consumer: with a vector in between, too, the next header leaves the one before alone."""
    config, tb, ports, table = await start(dut, 6, 0.0)
    ports["o"].every = 16
    q4_1 = {"kind": WeightKind.LINEAR.value, "kblocks": 1, "tiles": 1, "code_bits8": 0,
            "scale_format": ScaleFormat.FP16.value, "minimum": 1}
    commands = [q4_1, VECTOR | {"tiles": 1}, q4_1, VECTOR, q4_1, q4_1, VECTOR | {"tiles": 1}, VECTOR, q4_1]
    streams = [random_beats(tb.rng, tb.np_rng, config, command) for command in commands]
    for command, beats in zip(commands, streams, strict=True):
        send(ports, config, command, beats)
    for command, beats in zip(commands, streams, strict=True):
        expected = WeightDecoder.model(config, command, beats, table)
        check_items(config, await ports["o"].receive(len(expected["codes"])), expected, 1)


@cocotb.test()
async def whole_commands(dut):
    """Commands of many beats, tiles or k-blocks: all of them, and then the command behind, whose beats wait already."""
    config, tb, ports, _ = await start(dut, 7, 0.0)
    linear = {"kind": WeightKind.LINEAR.value, "code_bits8": 0, "scale_format": 0, "minimum": 0}
    commands = [VECTOR | {"tiles": (1 << bit) + 2} for bit in range(12)]
    commands += [linear | {"tiles": 1, "kblocks": 199}, linear | {"tiles": 135, "kblocks": 1}]
    vectors = items = 0
    for command in commands:
        for each in (command, VECTOR):
            beats = random_beats(tb.rng, tb.np_rng, config, each)
            send(ports, config, each, beats)
            if each["kind"] == WeightKind.VECTOR.value:
                vectors += len(beats)
            else:
                items += each["tiles"] * each["kblocks"] * config.interleave
        await ports["i"].drain()
        await tb.wait(config.rows * config.interleave + 20)
        assert (len(ports["vector"].received), len(ports["o"].received)) == (vectors, items), command


@cocotb.test()
async def long_commands(dut):
    """The first groups of commands too long to be read here: nothing of the next command comes among them. Each ends
    by a reset, with the first beat of an item inside."""
    config, tb, ports, table = await start(dut, 5, 0.0)
    rng = tb.rng
    vector = VECTOR

    async def first(command, known):
        """A command, and another one behind it, with the beats of what is known to be its beginning."""
        await tb.reset()
        if command["kind"] == WeightKind.LINEAR.value:
            table = await new_table(dut, tb)
            await tb.wait(16)
        else:
            table = np.zeros(16, np.int8)
        beats = random_beats(rng, tb.np_rng, config, known)
        send(ports, config, command, beats)
        ports["command"].send([harness.pack(WeightCommand, vector)])
        if config.bus_bytes < 16 * config.rows and command["kind"] == WeightKind.LINEAR.value:
            ports["i"].send([0])
        expected = WeightDecoder.model(config, known, beats, table)
        await tb.wait(len(beats) + len(expected["codes"]) * config.phases + 40)
        assert ports["vector"].received == [int.from_bytes(beat.tobytes(), "little") for beat in expected["vector"]]
        assert len(ports["o"].received) == len(expected["codes"])
        check_items(config, ports["o"].received, expected, known["minimum"])

    for bit in range(4, 24):
        for tiles in {1 << bit, (1 << bit) + 1, (1 << bit) + 2, (1 << 24) - (1 << bit)}:
            await first(vector | {"tiles": tiles}, vector | {"tiles": 12})
    for bit in range(3, 24):
        linear = {"kind": WeightKind.LINEAR.value, "code_bits8": 0, "scale_format": rng.randrange(3),
                  "minimum": rng.getrandbits(1), "tiles": 1, "kblocks": 1}
        for count in {1 << bit, (1 << bit) + 1, (1 << bit) + 2, (1 << bit) + 3, (1 << 24) - (1 << bit)}:
            await first(linear | {"tiles": count}, linear | {"tiles": 5})
            if count < 1 << 12:
                count = max(4 * config.group, count)
                await first(linear | {"kblocks": count}, linear | {"kblocks": 3 * config.group})


@pytest.mark.parametrize("name", CONFIGS)
def test_decoder(sim, name):
    harness.run(lambda: WeightDecoder(CONFIGS[name]), __name__, sim=sim, parameters=name)


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_bus_too_narrow():
    with pytest.raises(ValueError, match="bus_bytes is 8; it must hold"):
        WeightDecoder(ChipConfig(name="narrow", bus_bytes=8, rows=8, lanes=1))
    gc.collect()  # Amaranth warns of the unfinished component when it goes; let that be here
