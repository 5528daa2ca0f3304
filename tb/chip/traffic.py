"""Random requests to a chip of several slots: two tenants, priorities, prompts that begin alike, parking, cancels."""

from many_machine import NANO, tokens_for
from scoville.kv.model import pages_of
from scoville.schedule.records import Event, Flag, Reason

__all__ = ["Traffic"]

STEMS = 0, 20, 40, 70, 80  # tokens that a tenant's prompts may have in common
PATIENCE = 100_000  # cycles for what only writes a completion


class Traffic:
    """Of one life of a chip, from its start or soft reset on.

    Parameters
    ----------
    host : Host
    rng : numpy's
    coming : how likely a request comes while there is a slot for it; cancels : how likely one comes, a completion each
    stems : how many tokens a prompt may have in common with others of its tenant

    Members
    -------
    heard : of each request, completions when it was put
    """

    def __init__(self, host, rng, coming=0.5, cancels=0.03, stems=STEMS):
        self.host, self.rng, self.coming, self.cancels, self.lengths = host, rng, coming, cancels, stems
        self.stems = [tokens_for(rng, max(stems)) for _ in range(2)]
        self.heard, self._buffers = {}, []

    @property
    def parked(self):
        """The last completion of each sequence that is parked, by id."""
        found = {}
        for done in self.host.done:
            if done.event == Event.FINISHED and done.code != Reason.CANCELLED and self.host.told[done.id].parks:
                found[done.id] = done
            elif done.event == Event.EVICTED:
                del found[done.id]
        return found

    def ask(self):
        rng, host, name = self.rng, self.host, len(self.host.told)
        tenant, stem = int(rng.integers(2)), int(rng.choice(self.lengths))
        kin = [told for told in [*host.open, *(host.told[name] for name in self.parked)] if told.tenant == tenant]
        fields = {}
        if kin and rng.random() < 0.8:
            parent = kin[rng.integers(len(kin))]
            fields = {"parent": parent.name, "shared": min(stem, parent.stem)}
        prompt = self.stems[tenant][:stem] + tokens_for(rng, rng.integers(1, 12))
        priority = int(rng.choice([0, 0, 0, 1]))
        told = host.request(name, prompt, int(rng.integers(1, 20)), seed=name, temperature=float(rng.integers(2)),
                            tenant=tenant, priority=priority,
                            flags=Flag.PARK * int(rng.integers(2)), **fields)
        told.name, told.tenant, told.priority, told.stem = name, tenant, priority, stem
        self.heard[name] = len(host.done)
        self._buffers.append(told)

    def go(self, count, completions=None):
        """So many requests, to the end of them all, or for so many completions more."""
        host, rng = self.host, self.rng
        last = None if completions is None else host.taken + completions
        while (count or host.open) and (last is None or host.taken < last):
            while count and len(host.open) < NANO.slots and (not host.open or rng.random() < self.coming):
                self.ask()
                count -= 1
            if host.told and rng.random() < self.cancels:
                host.cancel(int(rng.integers(len(host.told))))
            host.ring()
            more = host.machine.wait()
            assert host.hear() or more, f"nothing comes of {len(host.open)} requests"
            for told in [told for told in self._buffers if told not in host.open]:
                self._buffers.remove(told)
                host.heap.give(told.rows)

    def tables(self):
        """Pages that each slot must have when all requests have ended: those of parked sequences."""
        return {done.slot: pages_of(done.position - 1) for done in self.parked.values()}

    def leave(self):
        """Nobody is parked any more."""
        for name in self.parked:
            self.host.cancel(name)
        self.host.ring()
        for _ in range(0, PATIENCE, 1000):
            if not self.parked:
                return
            self.host.machine.chip.step(1000)
            self.host.hear()
        raise AssertionError("who is parked is not evicted")
