"""A cocotb test that runs before a testbench's own and turns one simulator into many: a process a mutant, forked here.

Forked at time 0, so nothing of one mutant reaches the next: no memory, no register without reset, no running task.
A failed assertion, a crash or a hang ends its own process only.
"""

import json
import os
import resource
import sys
from pathlib import Path

import cocotb
from cocotb import regression
from cocotb.triggers import Timer

PASSED, FAILED = 0, 1
DESIGN_LIMIT = 600  # seconds of processor time for the design itself
SLOWER, SLACK = 3, 50_000  # a mutant's test may take so many times the design's, and so many ns more


def _child(number, limit, times):
    """Become mutant `number`: own log, bounded time, and an end that says by its status how the tests ended."""
    log = os.open(f"mutant-{number}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    manager = regression._manager_inst
    if number:
        measured = json.loads(times.read_text())
        for test in manager._test_queue:
            test.timeout = (SLOWER * measured.get(test.fullname, 0) + SLACK, "ns")

    def end():
        if number == 0:
            times.write_text(json.dumps({test.test_fullname: test.sim_time_ns for test in manager._test_results}))
        sys.stdout.flush()
        sys.stderr.flush()
        # This test itself has passed as well: a testbench that ran nothing has not.
        os._exit(FAILED if manager.failures or manager.passed < 2 else PASSED)

    manager._tear_down = end


def _verdict(status):
    if os.WIFEXITED(status):
        return {PASSED: "survived", FAILED: "failed"}.get(os.WEXITSTATUS(status), "crashed")
    return "hung" if os.WTERMSIG(status) in (9, 24) else "crashed"  # SIGKILL, SIGXCPU


def _fork(task):
    """In each child: its number. The parent writes a line of JSON a process, the design's first, and never returns."""
    waiting, running, limit = task["numbers"], {}, DESIGN_LIMIT
    times = Path(task["results"] + ".times")
    results = os.open(task["results"], os.O_WRONLY | os.O_APPEND)

    def start(number):
        if (child := os.fork()) == 0:
            _child(number, limit, times)
            return True
        running[child] = number
        return False

    def finish():
        child, status, used = os.wait4(-1, 0)
        row = {"number": running.pop(child), "verdict": _verdict(status),
               "seconds": round(used.ru_utime + used.ru_stime, 3)}
        os.write(results, (json.dumps(row) + "\n").encode())
        return row

    if start(0):
        return 0
    design = finish()
    if design["verdict"] == "survived":
        limit = int(SLOWER * design["seconds"]) + 2
        while waiting or running:
            while waiting and len(running) < task["jobs"]:
                if start(number := waiting.pop(0)):
                    return number
            finish()
    os._exit(0)


@cocotb.test()
async def select_mutant(dut):
    dut.mutsel.value = _fork(json.loads(os.environ["SCOVILLE_MUTANTS"]))
    await Timer(1, "step")
