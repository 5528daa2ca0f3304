"""A unit's mutants, judged by its own testbench: `record` what its tests would run, then `judge` a netlist with it."""

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

from simulators import FAILED_ASSERTION, RECORDING, simulate

__all__ = ["judge", "record"]

MUTANTS, SELECT = "mutants", "select_mutant"  # the module and the test that forks
LIMIT = 4 * 3600  # seconds that all mutants of a netlist may take
ROOT = Path(__file__).resolve().parent.parent


def record(tests, folder):
    """The runs of testbenches in their smoke configuration: RTLIL in `folder`, and a list of dicts, in test order.

    It is empty where the tests need no simulator.

    Parameters
    ----------
    tests : paths of pytest files, or node ids
    folder : emptied first
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "--smoke",
               "--sim", "verilator", *map(str, tests)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {RECORDING: str(folder)}, capture_output=True,
                          encoding="utf-8", errors="replace", check=False)
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    if not runs and done.returncode:  # 5 where the smoke set has none of them
        raise RuntimeError(f"no testbench ran in {', '.join(map(str, tests))}:\n{done.stdout[-2000:]}")
    return runs


def judge(run, verilog, lines, folder, *, jobs=2, progress=lambda done: None):
    """Run the tests of `run` (from `record`) on the design, and then on mutants of it.

    Parameters
    ----------
    verilog : Path of the netlist with the mutants, from `scoville_sim.mutation.netlist`
    lines : number to source line of the mutants to run
    folder : emptied first; logs of the mutants are left there
    jobs : processes at a time
    progress : called now and then with the number of mutants that are done

    Returns
    -------
    dict of number to verdict: "survived", "failed", "crashed" (by an assertion of the RTL, or worse) or "hung"

    Raises
    ------
    RuntimeError : the tests do not pass on the design itself
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    results, found = folder / "results.jsonl", {}
    results.touch()
    task = {"numbers": list(lines), "lines": lines, "jobs": jobs, "results": str(results)}
    testcase = run["testcase"]
    if testcase:
        testcase = [SELECT, *([testcase] if isinstance(testcase, str) else testcase)]
    ended = threading.Event()

    def watch():
        while not ended.wait(0.2):
            progress(max(0, results.read_text(encoding="utf-8").count("\n") - 1))

    watcher = threading.Thread(target=watch)
    watcher.start()
    # The tests import the simulator's Python path as pytest had made it for them.
    before, sys.path = sys.path, [*run["path"], str(Path(__file__).parent)]
    try:
        simulate(verilog, "verilator", [MUTANTS, run["module"]], folder, run["seed"], bench=run["bench"],
                 testcase=testcase, limit=LIMIT, SCOVILLE_MUTANTS=json.dumps(task), COCOTB_MAX_FAILURES="1")
    except (Exception, SystemExit):  # cocotb's runner misses the results file, which no process writes
        pass
    finally:
        sys.path = before
        ended.set()
        watcher.join()
    for line in results.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        found[row["number"]] = row["verdict"]
        # The tests may have ended before a failed assertion could end them.
        said = (folder / f"mutant-{row['number']}.log").read_text(errors="replace", encoding="utf-8")
        if row["verdict"] == "survived" and FAILED_ASSERTION.search(said):
            found[row["number"]] = "crashed"
    if found.get(0) != "survived" or set(found) != {0, *lines}:
        log = folder / ("mutant-0.log" if found else "run.log")
        raise RuntimeError(f"the tests of {run['module']} do not pass on the design itself ({found.get(0, 'no run')}); "
                           f"log {log}\n{log.read_text(encoding='utf-8')[-2000:] if log.exists() else ''}")
    del found[0]
    return found
