"""A cocotb test that runs before a testbench's own and turns one simulator into many: a process a mutant, forked here.

Forked at time 0, so nothing of one mutant reaches the next: no memory, no register without reset, no running task.
A failed assertion, a crash or a hang ends its own process only.
"""

import json
import os
import resource
import signal
import sys
from collections import Counter
from pathlib import Path

import cocotb
from cocotb import regression
from cocotb.triggers import Timer

PASSED, FAILED = 0, 100  # exit status of a process; FAILED + n: the n-th test failed
REVERSED, AGAIN = -1, -2  # the design again, with the tests the other way round, and as a mutant runs
DESIGN_LIMIT = 600  # seconds of processor time for the design itself
SLOWER, SLACK = 3, 50_000  # a mutant's test may take so many times the design's, and so many ns more


def time_limit(measured):
    """Whole ns of simulated time that a mutant's test may take, from the design's, which is a sum of floats."""
    return round(SLOWER * measured) + SLACK


class Order:
    """Which tests go first: those that killed other mutants of the same line, then those that kill most for their
    time, the shortest at first."""

    def __init__(self):
        self.kills = Counter()
        self.times = None  # of the tests on the design, if it passes in another order too

    def key(self, line):
        def rank(test):
            place, _ = test
            return -self.kills[line, place], -(1 + self.kills[None, place]) / (1 + self.times[place]), place

        return rank if self.times else lambda test: test[0]

    def killed(self, line, test):
        self.kills[line, test] += 1
        self.kills[None, test] += 1


def _child(number, limit, times, key):
    """Become mutant `number`: own log, bounded time, and an end that says by its status how the tests ended."""
    log = os.open(f"mutant-{number}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    manager = regression._manager_inst
    places = {test.fullname: place for place, test in enumerate(manager._test_queue)}
    if times.exists():
        measured = json.loads(times.read_text(encoding="utf-8"))
        for test in manager._test_queue:
            test.timeout = (time_limit(measured[test.fullname]), "ns")
    manager._test_queue[:] = [test for _, test in sorted(enumerate(manager._test_queue), key=key)]

    def end():
        results = {test.test_fullname: test for test in manager._test_results}
        if not times.exists():
            times.write_text(json.dumps({name: test.sim_time_ns for name, test in results.items()}), encoding="utf-8")
        sys.stdout.flush()
        sys.stderr.flush()
        failed = [name for name, test in results.items() if test.outcome.name == "FAIL"]
        if failed:
            os._exit(min(FAILED + places.get(failed[0], 0), 255))
        # This test itself has passed as well: a testbench that ran nothing has not.
        os._exit(FAILED if manager.passed < 2 else PASSED)

    manager._tear_down = end


def _verdict(status):
    if os.WIFEXITED(status):
        code = os.WEXITSTATUS(status)
        return "survived" if code == PASSED else "failed" if code >= FAILED else "crashed"
    return "hung" if os.WTERMSIG(status) in (signal.SIGKILL, signal.SIGXCPU) else "crashed"


def _fork(task):
    """In each child: its number. The parent writes a line of JSON a process, the design's first, and never returns."""
    waiting, running, limit, order = task["numbers"], {}, DESIGN_LIMIT, Order()
    lines = task.get("lines", {})
    times = Path(task["results"] + ".times")
    results = os.open(task["results"], os.O_WRONLY | os.O_APPEND)

    def start(number, key=None):
        if (child := os.fork()) == 0:
            _child(number, limit, times, key or order.key(lines.get(str(number))))
            return True
        running[child] = number
        return False

    def finish():
        child, status, used = os.wait4(-1, 0)
        number, seconds = running.pop(child), used.ru_utime + used.ru_stime
        verdict = _verdict(status)
        if verdict == "failed" and number > 0:
            order.killed(lines.get(str(number)), os.WEXITSTATUS(status) - FAILED)
        return verdict, seconds, {"number": number, "verdict": verdict, "seconds": round(seconds, 3)}

    def note(row):
        os.write(results, (json.dumps(row) + "\n").encode())

    if start(0):
        return 0
    verdict, seconds, design = finish()
    if verdict == "survived":
        limit = int(SLOWER * seconds) + 2
        if start(REVERSED, key=lambda test: -test[0]):
            return 0
        if finish()[0] == "survived":
            measured = json.loads(times.read_text(encoding="utf-8"))
            order.times = [measured[test.fullname] for test in regression._manager_inst._test_queue]
        else:  # what ends the design under the limits of a mutant would kill every mutant
            if start(AGAIN, key=lambda test: test[0]):
                return 0
            design["verdict"] = verdict = finish()[0]
    note(design)
    while verdict == "survived" and (waiting or running):
        while waiting and len(running) < task["jobs"]:
            if start(number := waiting.pop(0)):
                return number
        note(finish()[2])
    os._exit(0)


@cocotb.test()
async def select_mutant(dut):
    dut.mutsel.value = _fork(json.loads(os.environ["SCOVILLE_MUTANTS"]))
    await Timer(1, "step")
