"""The simulator's C++ memory and loop, on a small chip: data, timing, stalls, errors, and broken protocol rules."""

import dataclasses
import time

import numpy as np
import pytest
from scoville.config import get_config
from scoville_sim import MEMORIES, MemoryTiming, SettingError, SimError, VerilatedChip, get_memory, measured_limit
from scoville_sim.chip.build import build_library, build_plain
from simulators import run_seed
from small_chip import ADDRESS, BEATS, FAULT, START, STATUS, SUM, TARGET, Breakage, SmallChip

SIZE = 1 << 20
OUT = SIZE - 8192


def make(config="kria", timing=None, **options):
    """A chip and its memory full of random bytes."""
    chip = VerilatedChip(get_config(config), SIZE, component=SmallChip, seed=run_seed(), timing=timing, **options)
    chip.load(0, np.random.default_rng(run_seed()).integers(0, 256, SIZE, np.uint8))
    return chip


def start(chip, address, beats, target=OUT, breakage=Breakage.NONE):
    chip.write(ADDRESS, address)
    chip.write(BEATS, beats)
    chip.write(TARGET, target)
    chip.write(START, breakage.value)


def total(chip, address, beats):
    size = chip.config.bus_bytes
    return int(chip.memory[address:address + beats * size].view("<u4")[::size // 4].sum(dtype=np.uint32))


CONFIGS = ["kria", *(pytest.param(name, marks=pytest.mark.slow) for name in ("slim", "nano", "wide"))]  # a build each


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("memory", sorted(MEMORIES))
def test_sum(config, memory):
    chip = make(config, get_memory(memory))
    size = chip.config.bus_bytes
    for address, beats in ((0, 1), (4096 - size, 2), (5 * size, 777), (64 * size, 1024)):
        before = chip.memory[OUT:OUT + 2 * size].copy()
        start(chip, address, beats)
        assert chip.run(100_000) < 100_000 and chip.interrupt
        expected = total(chip, address, beats)
        assert chip.read(SUM) == expected
        assert chip.read(STATUS) == 1
        for beat in range(2):
            written = chip.memory[OUT + beat * size:OUT + (beat + 1) * size]
            assert written[0] == before[beat * size]  # its strobe was low
            assert int.from_bytes(written[1:].tobytes(), "little") == expected >> 8
    counters = chip.counters
    assert counters["read_beats"] == 1 + 2 + 777 + 1024 and counters["write_beats"] == 8
    assert not chip.errors


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_full_throughput(config, share):
    """A beat a cycle at latencies up to the depth of the stream FIFO."""
    config = get_config(config)
    latency = int(config.stream_beats * share) - 8
    chip = make(config.name, MemoryTiming(read_latency=max(latency, 4)))
    beats = 4000
    start(chip, 0, beats)
    cycles = chip.run(100_000)
    assert cycles <= beats + latency + 64
    assert chip.read(SUM) == total(chip, 0, beats)


@pytest.mark.parametrize("memory", sorted(MEMORIES))
def test_limit(memory):
    """The chip's reader gets what the memory gives the plain stream, and no more."""
    timing = get_memory(memory)
    chip = make("kria", timing)
    beats = 256 + int(16000 * timing.peak(64))
    start(chip, 0, beats)
    found = beats / chip.run(1_000_000)
    limit = measured_limit(timing, 64)
    assert 0.97 * limit <= found <= 1.005 * limit


def test_timing():
    """Latency, bandwidth and refresh cost the cycles that they say."""
    def cycles(length, **timing):
        chip = make(timing=MemoryTiming(**timing))
        start(chip, 0, length)
        return chip.run(100_000)

    base = cycles(1, read_latency=10)
    assert cycles(1, read_latency=60) == base + 50
    assert cycles(1, read_latency=10, write_latency=50) == base + 30
    assert 4 * 1000 <= cycles(1000, beats=1, period=4) <= 4 * 1000 + 160
    assert 1300 <= cycles(1000, refresh_interval=100, refresh_cycles=20) <= 1000 * 100 / 80 + 300


def test_a_write_is_there_with_its_response():
    """AXI4 promises nothing sooner: who does not wait for the response reads the old bytes."""
    chip = make(timing=MemoryTiming(write_latency=300))
    before = chip.memory.copy()
    start(chip, 0, 1)
    while chip.counters["write_beats"] < 2:
        chip.step()
    chip.step(290)
    assert (chip.memory == before).all()
    chip.run(10_000)
    assert (chip.memory != before).any() and chip.read(STATUS) == 1


def test_stalls_follow_the_seed():
    def cycles(seed):
        chip = VerilatedChip(get_config("kria"), SIZE, component=SmallChip, seed=seed, timing=MEMORIES["random"])
        start(chip, 0, 1000)
        return chip.run(100_000)

    assert cycles(1) == cycles(1)
    assert len({cycles(seed) for seed in range(5)}) > 1


def test_error_responses():
    chip = make()
    for base, decode in ((4096, False), (8192, True)):
        chip.inject_error(base, 64, decode=decode)
        start(chip, base - 64, 3)
        chip.run(10_000)
        assert chip.read(STATUS) == 3 and chip.read(FAULT) in (base, base - 64)
    start(chip, SIZE, 2)  # no memory there
    chip.run(10_000)
    assert chip.read(STATUS) == 3 and chip.read(FAULT) == SIZE
    before = chip.memory.copy()
    start(chip, 0, 2, target=SIZE + 4096)
    chip.run(10_000)
    assert chip.read(STATUS) == 1 | 3 << 2
    assert (chip.memory == before).all()
    chip.clear_injected_errors()
    start(chip, 4096, 3)
    chip.run(10_000)
    assert chip.read(STATUS) == 1


@pytest.mark.parametrize("breakage, message", [(Breakage.LAST, "WLAST"), (Breakage.PAYLOAD, "W changed")])
def test_broken_protocol(breakage, message):
    chip = make(timing=dataclasses.replace(MEMORIES["ideal"], stall_w=0.9))
    start(chip, 0, 2, breakage=breakage)
    with pytest.raises(SimError, match=message):
        chip.run(10_000)


def test_assertions():
    """One that fails is an error with its message and the cycle, at the access after which it failed."""
    chip = make()
    with pytest.raises(SimError, match=r"cycle \d+: assertion failed: small chip: a start has beats"):
        start(chip, 0, 0)
    chip = make()  # and it is told of this chip alone
    start(chip, 0, 3)
    chip.run(10_000)
    assert chip.read(SUM) == total(chip, 0, 3)


def test_boundary_is_checked():
    chip = make()
    start(chip, 0, 2, target=4096 - 64)
    with pytest.raises(SimError, match="crosses 4 KB"):
        chip.run(10_000)


def test_record():
    """The changes of the trace port: every beat is there, and the last ones are kept."""
    beats, kept = 200, {}
    for capacity in (10_000, 8):
        chip = make(timing=MemoryTiming(beats=1, period=4))
        assert not len(chip.recorded[0])
        chip.record(capacity)
        first = chip.cycles
        start(chip, 0, beats)
        chip.run(10_000)
        kept[capacity] = chip.recorded
        chip.record(0)
        chip.step()
        assert not len(chip.recorded[0])
    cycles, words, lost = kept[10_000]
    assert not lost and words[-1] == 1 and first <= cycles[0]
    assert (np.diff(cycles.astype(int)) > 0).all() and (np.diff(words.astype(int)) != 0).all()
    assert (np.diff(cycles.astype(int))[words[:-1] == 2]).sum() == beats
    assert kept[8][2] and (kept[8][0] == cycles[-8:]).all() and (kept[8][1] == words[-8:]).all()


def test_watched():
    """Signals inside are recorded in place of the trace port, the first in the lowest bits."""
    beats, chip = 50, make(timing=MemoryTiming(beats=1, period=4), watched=("reader.o__valid", "interrupt", "activity"))
    chip.record(10_000)
    start(chip, 0, beats)
    chip.run(10_000)
    cycles, words, _ = chip.recorded
    beat, interrupt, activity = words & 1, words >> 1 & 1, words >> 2
    assert (activity == interrupt + 2 * beat).all() and activity[-1] == 1
    assert np.diff(cycles.astype(int))[beat[:-1] == 1].sum() == beats
    with pytest.raises(SimError, match="nobody"):
        make(watched=("nobody",))


def test_registers():
    chip = make()
    with pytest.raises(SimError, match="error response"):
        chip.write(0x100, 1)
    with pytest.raises(SimError, match="do not fit"):
        chip.load(SIZE - 4, b"12345678")
    chip.reset()
    assert chip.read(SUM) == 0


def test_missing_compiler(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr("scoville_sim.chip.build.cache_folder", lambda: tmp_path)
    with pytest.raises(SimError, match="apt-get install"):
        make()


def test_another_compiler(monkeypatch, tmp_path):
    """What one compiler made is not given to who asks for another's."""
    monkeypatch.setattr("scoville_sim.chip.build.cache_folder", lambda: tmp_path)
    (tmp_path / "small.cpp").write_text("int main() {}")
    other = tmp_path / "other"
    other.write_text('#!/bin/sh\nexec g++ "$@"\n')
    other.chmod(0o755)
    source = tmp_path / "small.cpp"
    monkeypatch.setenv("CXX", "g++")
    first = build_plain(source, ())
    monkeypatch.setenv("CXX", str(other))
    assert build_plain(source, ()) != first


def test_compiler_with_a_launcher(monkeypatch, tmp_path):
    monkeypatch.setattr("scoville_sim.chip.build.cache_folder", lambda: tmp_path)
    (tmp_path / "small.cpp").write_text("#ifdef WANTED\nint main() {}\n#endif\n#ifndef WANTED\n#error\n#endif\n")
    monkeypatch.setenv("CXX", "env 'g++' -DWANTED")
    assert build_plain(tmp_path / "small.cpp", ()).exists()


@pytest.mark.parametrize("variable, value, message", [
    ("JOBS", "0", "JOBS is '0'; it must be a number, at least 1"), ("JOBS", "many", "JOBS is 'many'"),
    ("CXX", "g++ '", "No closing quotation"),
])
def test_wrong_settings(variable, value, message, monkeypatch, tmp_path):
    monkeypatch.setattr("scoville_sim.chip.build.cache_folder", lambda: tmp_path)
    monkeypatch.setattr("scoville_sim.chip.build.run_tool", lambda command, **_: pytest.fail("the work has begun"))
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingError, match=message):
        build_library("", 16)


def test_cache_that_cannot_be_written(monkeypatch, tmp_path):
    """It is in order as long as everything is in it."""
    (tmp_path / "small.cpp").write_text("int main() {}")
    monkeypatch.setattr("scoville_sim.chip.build.cache_folder", lambda: tmp_path / "cache")
    library = build_plain(tmp_path / "small.cpp", ())
    monkeypatch.setattr("builtins.open", lambda *_, **__: pytest.fail("nothing is to be written"))
    assert build_plain(tmp_path / "small.cpp", ()) == library
    monkeypatch.undo()
    (tmp_path / "file").touch()
    monkeypatch.setattr("scoville_sim.chip.build.cache_folder", lambda: tmp_path / "file" / "cache")
    with pytest.raises(SettingError, match=r"cannot write the simulator's cache, .*/file/cache: Not a directory"):
        build_plain(tmp_path / "small.cpp", ())


@pytest.mark.heavy
def test_waves(tmp_path):
    path = tmp_path / "small.vcd"
    with make("slim", waves=path) as chip:
        start(chip, 0, 3)
        chip.run(1000)
    assert "m_axi__araddr" in path.read_text()


def test_speed():
    """The loop itself does not hold a chip back."""
    chip = make("kria")
    begin = time.perf_counter()
    chip.step(200_000)
    rate = 200_000 / (time.perf_counter() - begin)
    print(f"{rate:,.0f} cycles a second")
    assert rate > 100_000
