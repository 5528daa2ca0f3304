"""The golden model of many sequences: the schedule says what a pass computes, the golden model computes it."""

import numpy as np

from .golden import GoldenChip, failure
from .golden_pages import PagedCache
from .golden_pass import Part
from .kv.model import KvModel
from .registers import Status
from .sampler import sampler
from .schedule.model import Scheduler
from .schedule.rings import CompletionRing, SubmissionRing
from .schedule.slots import Setup

__all__ = ["GoldenMany"]

SETTINGS = ("PROGRAM", "KV_BASE", "KV_PAGES", "KV_PAGE_BYTES", "CONTEXT", "WINDOW_BASE", "WINDOW_LIMIT")


class _Words:
    """Token buffers and stop lists, as the schedule reads and writes them."""

    def __init__(self, memory):
        self.memory = memory

    def read(self, address, count):
        return np.frombuffer(self.memory.view(address, 4 * count).tobytes(), "<u4").tolist()

    def write(self, address, token):
        self.memory.view(address, 4)[:] = list(token.to_bytes(4, "little"))


class GoldenMany:
    """The chip's model.

    Between two passes it takes all entries of the submission ring. A full completion ring holds it back.

    Parameters
    ----------
    config : ChipConfig; its seats, slots and pages count, but for no token or logit.
    memory : uint8 array; tokens, logits, completions and KV appends are written to it.
    registers : dict of the registers PROGRAM, KV_BASE, KV_PAGES, KV_PAGE_BYTES (of all layers and KV heads), CONTEXT,
        VOCAB, RUNNING, SUBMIT_BASE, SUBMIT_ENTRIES, COMPLETE_BASE, COMPLETE_ENTRIES, and perhaps WINDOW_BASE,
        WINDOW_LIMIT and SPAN0; addresses are whole
    base : address of ``memory[0]``

    Members
    -------
    status : `Status`, OK unless a fault has stopped the chip; SETTING, and nothing else is there, if a register does
        not fit
    scheduler : Scheduler; kv : KvModel
    submission, completion : the rings, with their doorbells' counts
    """

    def __init__(self, config, memory, registers, *, base=0):
        self.config, self.status = config, Status.OK
        registers = {"WINDOW_BASE": base, "WINDOW_LIMIT": base + len(memory)} | registers
        window = registers["WINDOW_BASE"], registers["WINDOW_LIMIT"]
        self.chip = GoldenChip(config, memory, {name: registers[name] for name in SETTINGS}, base=base)
        if self.chip.refused:
            self.status = Status.SETTING
            return
        self.memory = self.chip.memory
        setup = Setup(kv_pages=registers["KV_PAGES"], context=registers["CONTEXT"], vocab=registers["VOCAB"],
                      running=registers["RUNNING"], window=window, spans=(registers.get("SPAN0", 0),))
        self.kv = KvModel(config, registers["KV_PAGES"])
        self.scheduler = Scheduler(config, self.kv, _Words(self.memory), setup)
        self.submission = SubmissionRing(self.memory, registers["SUBMIT_BASE"], registers["SUBMIT_ENTRIES"])
        self.completion = CompletionRing(self.memory, registers["COMPLETE_BASE"], registers["COMPLETE_ENTRIES"])

    def ring(self, ring, count):
        """A doorbell."""
        if not ring.ring(count):
            self.scheduler.overrun(count)

    def step(self):
        """What comes next: entries, a plan, its pass. The `Pass`; None if there is nothing, or no room for completions.
        """
        if self.status is not Status.OK:
            return None
        while self._tell() and (fields := self.submission.take()):
            self.scheduler.submit(fields)
        if not self._tell():
            return None
        plan = self.scheduler.plan()
        if plan is not None:
            with failure(self):
                self.scheduler.complete(plan, self._compute(plan))
        self._tell()
        return plan

    def _tell(self):
        """Completions into the ring; False while it has no room for the next."""
        waiting = self.scheduler.completions
        while waiting and self.completion.put(waiting[0]):
            waiting.popleft()
        return not waiting

    def _compute(self, plan):
        """The sampled tokens of a pass; their logits go to memory."""
        ids = [token for run in plan.runs for token in run.tokens]
        parts = [Part(len(run.tokens), run.first, PagedCache(self.memory, self._page(run.slot)))
                 for run in plan.runs]
        logits = self.chip.execute(ids, parts, last=any(run.samples for run in plan.runs))
        tokens, seat = [], -1
        for run in plan.runs:
            seat += len(run.tokens)
            if run.samples:
                slot = self.scheduler.slots[run.slot]
                request, values = slot.request, logits[seat]
                if request.logits:
                    row = request.logits + (slot.known - request.prompt) * request.logits_stride
                    self.memory.view(row, values.nbytes)[:] = values.view(np.uint8)
                invt = np.array(request.temperature, np.uint32).view(np.float32)
                tokens.append(sampler.model(values, invt, request.seed, slot.known - 1))
        return tokens

    def _page(self, slot):
        """Which page of a slot the KV-cache controller has: see `PagedCache`."""
        return lambda group, number, write: (self.kv.write if write else self.kv.read)(slot, group, number)
