"""Options of the testbenches: `pytest --sim icarus` or ``SIM=icarus`` picks one simulator, both by default."""

import os

from simulators import SIMULATORS, run_seed


def pytest_addoption(parser):
    parser.addoption("--sim", choices=SIMULATORS, default=os.environ.get("SIM") or None,
                     help="run under this simulator only")


def pytest_report_header(config):
    return f"SEED={run_seed()} (set it in the environment to change every test's random choices)"


def pytest_generate_tests(metafunc):
    if "sim" in metafunc.fixturenames:
        only = metafunc.config.getoption("--sim")
        metafunc.parametrize("sim", [only] if only else SIMULATORS)
