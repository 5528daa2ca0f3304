"""Stories: what a host does and when, by passes. Told to the golden machine, and then once more to the chip."""

from dataclasses import dataclass, field

import numpy as np
from many_machine import Host, rtl
from scoville_host.runtime.many.golden import GoldenMachine

__all__ = ["Story", "completions"]

BEGIN = 1 << 5  # of `Chip.activity`: a pass begins
MOST = 100_000  # cycles of a pass, and what is between two


def completions(host):
    """Each with all of its fields but `cycles`, which are the chip's own."""
    return [{name: value for name, value in vars(done).items() if name != "cycles"} for done in host.done]


@dataclass
class Story:
    """A host and a golden chip that goes from pass to pass as a test wants it; what the host does is remembered.

    Parameters
    ----------
    plan : Plan

    Members
    -------
    host : Host of the golden chip
    deeds : what the host did: (passes until then, name of a method of `Host`, its arguments)
    free : pages that nobody had, after each pass
    """

    plan: object
    deeds: list = field(default_factory=list)
    free: list = field(default_factory=list)

    def __post_init__(self):
        self.host = Host(GoldenMachine(self.plan), self.plan)

    @property
    def kv(self):
        return self.host.machine.chip.kv

    def _do(self, name, *arguments, **options):
        self.deeds.append((self.host.machine.time, name, arguments, options))
        result = getattr(self.host, name)(*arguments, **options)
        self.host.ring()
        return result

    def request(self, *arguments, **options):
        return self._do("request", *arguments, **options)

    def cancel(self, name):
        self._do("cancel", name)

    def step(self, passes=1):
        """Passes that the chip computes, or less if there is nothing to compute; whether there was."""
        for _ in range(passes):
            before = self.host.machine.time
            self.host.machine.wait()
            self.host.hear()
            if self.host.machine.time == before:
                return False
            self.kv.check()
            self.free.append(self.kv.free)
        return True

    def until(self, condition):
        while not condition():
            assert self.step(), "there is nothing to compute, and it has not come"

    def finish(self):
        """Until all has ended."""
        while self.step():
            pass
        assert not self.host.open
        self.host.serve()

    def on_chip(self, *arguments):
        """The same deeds on the Verilated chip: a doorbell that the golden chip hears between two passes rings there
        while the first of them is computed. Returns the `Host`, when all has ended.

        Completions must be the golden chip's, entry by entry with their passes; so must every byte of the pool.
        """
        self.finish()
        host = Host(rtl(self.plan, *arguments), self.plan)
        begun = 0
        for at in sorted({at for at, *_ in self.deeds}):
            while begun < at:
                self._next_pass(host)
                begun += 1
            for when, name, given, options in self.deeds:
                if when == at:
                    getattr(host, name)(*given, **options)
            host.ring()
        host.serve()
        while host.taken < self.host.taken:  # evictions, which end no request
            assert host.machine.wait() and host.hear()
        host.machine.close()
        assert completions(host) == completions(self.host), "other completions than the golden chip's"
        assert np.array_equal(*(self.pool(each) for each in (host, self.host))), "a page holds something else"
        return host

    def pool(self, host):
        registers = self.plan.registers
        return np.frombuffer(host.machine.fetch(registers["KV_BASE"], self.plan.pages * registers["KV_PAGE_BYTES"]),
                             np.uint8)

    def _next_pass(self, host):
        """To the cycle behind the one in which a pass begins."""
        chip = host.machine.chip
        for _ in range(MOST):
            chip.step()
            if chip.activity & BEGIN:
                chip.step()
                host.hear()
                return
        raise AssertionError(f"no pass begins in {MOST} cycles")
