"""What a schedule's model was given and did, step by step, to be played to the RTL."""

from types import SimpleNamespace

from scoville.schedule.model import Scheduler
from scoville.schedule.records import Kind

__all__ = ["Recorder"]


class Recorder(Scheduler):
    """A scheduler that remembers.

    Members
    -------
    steps : one a plan: ``requests`` since the one before, ``runs`` as (slot, first, count, error), ``plan``, and
        ``sampled`` as (token, stop, failed), all in order
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
        self.steps.append(SimpleNamespace(requests=self.requests, runs=[], plan=None, sampled=[]))
        self.requests = []
        self.steps[-1].plan = super().plan()
        return self.steps[-1].plan

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
