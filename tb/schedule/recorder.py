"""What a schedule's model was given and did, step by step, to be played to the RTL."""

from copy import deepcopy
from types import SimpleNamespace

from scoville.schedule.model import Scheduler
from scoville.schedule.records import Kind

__all__ = ["Recorder"]


class Recorder(Scheduler):
    """A scheduler that remembers.

    Members
    -------
    steps : one a plan: ``requests`` since the one before, ``runs`` as (slot, first, count, error), ``plan``, its
        ``sampling`` as (seed, temperature, address of the logits), a run that samples, ``sampled`` as (token, stop,
        failed), all in order; and ``kv``, what the slots of its runs have when it begins
    heard : all completions
    """

    def __init__(self, *args):
        super().__init__(*args)
        self.steps, self.requests, self.heard = [], [], []

    def _post(self, *args, **kwargs):
        super()._post(*args, **kwargs)
        self.heard.append(self.completions[-1])

    def submit(self, fields):
        self.requests.append(dict(fields))
        super().submit(fields)

    def plan(self):
        self.steps.append(SimpleNamespace(requests=self.requests, runs=[], plan=None, sampling=[], sampled=[], kv={}))
        self.requests = []
        self.steps[-1].plan = plan = super().plan()
        for run in plan.runs if plan else ():
            slot, request = self.slots[run.slot], self.slots[run.slot].request
            self.steps[-1].kv[run.slot] = deepcopy(self.kv.slots[run.slot])
            if run.samples:
                row = request.logits and request.logits + (slot.known - request.prompt) * request.logits_stride
                self.steps[-1].sampling.append((request.seed, request.temperature, row))
        return plan

    def _run(self, slot, count):
        first, before = slot.computed, len(self.heard)
        run = super()._run(slot, count)
        error = 0 if run else self.heard[before]["code"]
        self.steps[-1].runs.append((slot.index, first, count, int(error)))
        return run

    def _take(self, slot, token):
        request = slot.request
        stops = self.memory.read(request.stops, request.stop_count) if request.stop_count else []
        self.steps[-1].sampled.append((token, int(stops is not None and token in stops), int(stops is None)))
        super()._take(slot, token)


def judged(fields, error, most, lengthy):
    """A request as the judge gives it."""
    if fields["kind"] == Kind.CANCEL:
        return {"kind": int(Kind.CANCEL), "id": fields["id"]}
    names = ("kind", "flags", "priority", "id", "tenant", "prompt", "room", "limit", "parent", "shared")
    return {name: int(fields[name]) for name in names} | {"error": int(error or 0), "most": most, "lengthy": lengthy}
