"""Options of the testbenches: `pytest --sim icarus` or ``SIM=icarus`` picks one simulator.

By default it is both; with --smoke Verilator, as Icarus takes more time than all else.
"""

import os
import sys
import time
from pathlib import Path

import numpy as np
import processes
import pytest
from simulators import BUILD, SIMULATORS, no_spaces, run_seeds

# The tools that PyPI's packages install beside this Python are found from any shell.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])


def pytest_addoption(parser):
    parser.addoption("--sim", choices=SIMULATORS, default=os.environ.get("SIM") or None,
                     help="run under this simulator only; icarus leaves out all tests that do not ask for a simulator")
    parser.addoption("--smoke", action="store_true",
                     help="a configuration a testbench, nano where it has it, none slow or heavy; Verilator by default")


def pytest_configure(config):
    processes.adopt()
    if getattr(config.option, "numprocesses", None) and config.getoption("--sim") != "icarus":
        no_spaces(BUILD)  # here, as it is the workers that collect
    if config.getoption("--smoke"):
        os.environ.setdefault("SCOVILLE_OPTIMISE", "-O1")  # of whole chips: their runs are short


@pytest.fixture(autouse=True)
def leaves_no_process():
    """A test that ends, however it ends, leaves nothing running; what it leaves is killed, and fails it."""
    before = processes.children()
    yield
    left, patience = processes.children() - before, time.monotonic() + 5  # for one that is about to end
    while left and time.monotonic() < patience:
        time.sleep(0.05)
        left = processes.children() - before
    processes.end(left)
    assert not left, "the test left processes running"


@pytest.fixture
def record_property(record_property):
    """As pytest's; a worker cannot send numpy's numbers."""
    return lambda name, value: record_property(name, value.item() if isinstance(value, np.generic) else value)


def pytest_report_header(config):
    seeds = ", ".join(map(str, run_seeds()))
    return f"seeds: {seeds} (set SEED and SEEDS in the environment to change every test's random choices)"


def pytest_generate_tests(metafunc):
    if "sim" in metafunc.fixturenames:
        only = metafunc.config.getoption("--sim") or (SIMULATORS[0] if metafunc.config.getoption("--smoke") else None)
        metafunc.parametrize("sim", [only] if only else SIMULATORS)
    elif "run_seed" in metafunc.fixturenames:  # `simulators.run` has its own loop
        metafunc.parametrize("run_seed", run_seeds())


def pytest_collection_modifyitems(config, items):
    """Of the tests those that the options ask for: one configuration a testbench, a simulator's."""
    if config.getoption("--sim") == "icarus":  # the others do not depend on it
        _keep(config, items, [item for item in items
                              if "sim" in getattr(getattr(item, "callspec", None), "params", {})])
    if config.getoption("--smoke"):
        _smoke(config, items)
    if any(getattr(item, "callspec", None) and item.callspec.params.get("sim") == "verilator" for item in items):
        no_spaces(BUILD)


def _smoke(config, items):
    chosen = {}
    for item in items:
        parameters = getattr(item, "callspec", None) and item.callspec.params
        if not parameters or not ("sim" in parameters or item.get_closest_marker("one_is_enough")):
            continue
        key = item.nodeid.split("[")[0], parameters.get("sim")
        if key not in chosen or ("nano" in parameters.values() and "nano" not in chosen[key].callspec.params.values()):
            chosen[key] = item
    passed = {item.nodeid for item in chosen.values()}
    kept = [item for item in items if not any(map(item.get_closest_marker, ("slow", "heavy")))
            and (item.nodeid.split("[")[0] not in {key[0] for key in chosen} or item.nodeid in passed)]
    _keep(config, items, kept)


def _keep(config, items, kept):
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept
