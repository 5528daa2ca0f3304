"""The schedule, pass by pass: what the RTL does, as a function of requests and sampled tokens alone."""

from collections import deque
from dataclasses import dataclass
from types import SimpleNamespace

from scoville.config import PAGE_TOKENS
from scoville.kv.model import pages_of

from .records import COMPLETION, NO_SLOT, NONE, Error, Event, Flag, Kind, Reason
from .slots import Slot, State, family, judge, most_positions

__all__ = ["Pass", "Run", "Scheduler"]


@dataclass(frozen=True)
class Run:
    """Consecutive seats of a pass.

    Members
    -------
    first : position of the first token; `tokens` : token ids, a seat each
    samples : the last seat's logits choose a token
    """

    slot: int
    first: int
    tokens: tuple
    samples: bool


@dataclass(frozen=True)
class Pass:
    """The runs, in the order of their seats: run r has those that follow run r-1's."""

    runs: tuple


class Scheduler:
    """Takes requests, plans passes, hands tokens out.

    Between two passes: `complete`, then `submit` for each entry of the ring that has come, then `plan`.

    Parameters
    ----------
    config : ChipConfig; `seats`, `slots` and `cache_groups` count
    kv : KvModel, of the same configuration
    memory : token buffers and stop lists: ``read(address, count)`` gives so many u32, None for a bus error;
        ``write(address, token)``
    setup : Setup

    Members
    -------
    completions : deque of dicts, oldest first, of the fields of `COMPLETION` but `cycles`; the caller takes them
    turns : slots that run, the one that has waited longest for a seat first
    parked : slots that are parked, least recently used first
    """

    def __init__(self, config, kv, memory, setup):
        self.config, self.kv, self.memory, self.setup = config, kv, memory, setup
        self.slots = [Slot(index) for index in range(config.slots)]
        self.turns, self.parked, self.completions = [], [], deque()
        self._numbers = self._posted = self._passes = 0
        self._gave_way = False  # a sequence was preempted since the last pass
        self._pass = None  # the pass that is being computed: until it is complete nothing changes

    @property
    def waiting(self):
        """Slots that wait, the next to be admitted first."""
        return sorted((slot for slot in self.slots if slot.state is State.WAITING), key=lambda slot: slot.rank)

    # requests

    def submit(self, fields):
        """Take an entry of the submission ring, as `records.decode` gives it."""
        assert self._pass is None, "a pass is being computed"
        request = SimpleNamespace(**fields)
        if request.kind == Kind.CANCEL:
            self._cancel(request.id)
        elif (error := judge(request, self.slots, self.setup, self.config)) is not None:
            self._post(Event.ERROR, request.id, code=error)
        else:
            if (parent := family(self.slots, request)) in self.parked:
                self._use(parent)
            if not any(slot.state is State.FREE for slot in self.slots):
                self._evict()
            slot = next(slot for slot in self.slots if slot.state is State.FREE)
            slot.state, slot.request, slot.number = State.WAITING, request, self._numbers
            slot.known, slot.computed = request.prompt, 0
            self._numbers += 1

    def overrun(self, count):
        """A doorbell was rung with an impossible count."""
        self._post(Event.ERROR, NONE, code=Error.OVERRUN, token=count)

    def _cancel(self, name):
        """End what has this id; if it has ended by itself, its final completion is the answer."""
        slot = next((slot for slot in self.slots if slot.state is not State.FREE and slot.request.id == name), None)
        if slot in self.parked:
            self._evict(slot)
        elif slot:
            self._report(Event.FINISHED, slot, code=Reason.CANCELLED)
            self._close(slot)

    # the rule of a pass

    def plan(self):
        """The next `Pass`, or None if nothing is to be computed."""
        assert self._pass is None, "a pass is being computed"
        self._gave_way = False
        while (seats := self._deal()) is None or not seats and self._gave_way:
            if seats is not None:  # all that ran failed when one had given way: who waits may be admitted
                self._gave_way = False
        for slot in seats:
            self.turns.remove(slot)
        self.turns += seats
        self._pass = Pass(tuple(seats.values())) if seats else None
        return self._pass

    def _deal(self):
        """Runs by slot, in the order of their seats; None where the state has changed, and the plan is to be made anew.
        """
        prompts = sorted((slot for slot in self.turns if slot.left > 1), key=lambda slot: slot.rank)
        seats = {slot: 1 for slot in self.turns if slot.left == 1 or slot in prompts[:1]}
        seats = dict(list(seats.items())[:self.config.seats])
        for slot in seats:
            if not self._grow(slot):
                return None
        spare = self.config.seats - len(seats)
        admitted = () if self._gave_way else self._admissions()
        for slots in (prompts, admitted):
            for slot in slots:
                more = min(spare, slot.left - seats.get(slot, 0))
                if more:
                    seats[slot] = seats.get(slot, 0) + more
                    spare -= more
        runs = {}
        for slot, count in seats.items():
            if (run := self._run(slot, count)) is None:
                return None
            runs[slot] = run
        return runs

    def _grow(self, slot):
        """A page for the next token, if need be. False if a sequence has given way for it."""
        while not self.kv.reserve(slot.index, slot.computed + 1):
            if self.parked:
                self._evict()
            else:
                self._preempt(max(self.turns, key=lambda slot: slot.rank))
                return False
        return True

    def _admissions(self):
        """Slots that begin to run, in that order."""
        for slot in self.waiting:
            if len(self.turns) == self.setup.running:
                return
            parent = family(self.slots, slot.request)
            target = min(slot.request.shared, slot.known - 1) // PAGE_TOKENS
            runs = parent is not None and parent.state is State.RUNNING
            if runs and parent.rank < slot.rank and parent.left > 1 and parent.computed < target * PAGE_TOKENS:
                continue  # its pages are being computed
            if not self._admit(slot, parent, target):
                return
            yield slot

    def _admit(self, slot, parent, target):
        """Pages for all that is known, those that the parent has from it; False, and none, if there are too few."""
        self.kv.open(slot.index, slot.request.tenant)
        shared = min(target, parent.computed // PAGE_TOKENS) if parent else 0
        if shared and self.kv.fork(slot.index, parent.index, shared):
            slot.computed = shared * PAGE_TOKENS
            if parent in self.parked:
                self._use(parent)
        groups = self.config.cache_groups
        hope = self.kv.free + groups * sum(pages_of(parked.computed) for parked in self.parked)
        while not self.kv.reserve(slot.index, slot.known):
            if self.kv.missing(slot.index, slot.known) > hope or not self.parked:
                self.kv.release(slot.index)
                slot.computed = 0
                return False
            self._evict()
        slot.state = State.RUNNING
        self.turns.append(slot)
        return True

    def _run(self, slot, count):
        """The run with its tokens; None if one of them cannot be had, which ends the sequence."""
        first = slot.computed
        tokens = self.memory.read(slot.request.tokens + 4 * first, count)
        if tokens is None or max(tokens) >= self.setup.vocab:
            self._report(Event.ERROR, slot, code=Error.READ if tokens is None else Error.TOKEN)
            self._close(slot)
            return None
        return Run(slot.index, first, tuple(tokens), slot.left == count)

    # what comes of a pass

    def complete(self, done, sampled):
        """A pass has ended, and all its writes have their responses.

        Parameters
        ----------
        done : Pass
        sampled : a token for each run that samples, in order
        """
        assert done is self._pass, "another pass is being computed"
        self._pass = None
        self._passes += 1
        sampled = iter(sampled)
        for run in done.runs:
            slot = self.slots[run.slot]
            slot.computed += len(run.tokens)
            self.kv.commit(slot.index, slot.computed)
            for group, span in enumerate(self.setup.spans):
                if span:
                    self.kv.leave(slot.index, group, max(slot.computed - span + 1, 0))
            if run.samples:
                self._take(slot, next(sampled))

    def _take(self, slot, token):
        """A sampled token joins the sequence, and may end it."""
        request = slot.request
        stops = self.memory.read(request.stops, request.stop_count) if request.stop_count else []
        if stops is None:
            self._report(Event.ERROR, slot, code=Error.READ)
            self._close(slot)
            return
        self.memory.write(request.tokens + 4 * slot.known, token)
        slot.known += 1
        if token in stops:
            reason = Reason.STOP
        elif slot.known in (request.prompt + request.limit, request.room):
            reason = Reason.LENGTH
        elif slot.known > most_positions(request):
            reason = Reason.CONTEXT
        else:
            self._report(Event.TOKEN, slot, token=token)
            return
        self._report(Event.FINISHED, slot, token=token, code=reason)
        if request.flags & Flag.PARK:
            self.turns.remove(slot)
            self.parked.append(slot)
            slot.state = State.PARKED
        else:
            self._close(slot)

    # how slots end

    def _preempt(self, slot):
        self._gave_way = True
        self.turns.remove(slot)
        self.kv.release(slot.index)
        slot.state, slot.computed = State.WAITING, 0
        self._report(Event.PREEMPTED, slot)

    def _evict(self, slot=None):
        """A parked slot, the least recently used, makes room."""
        slot = slot or self.parked[0]
        self._report(Event.EVICTED, slot)
        self._close(slot)

    def _use(self, slot):
        """A parked slot is useful."""
        self.parked.remove(slot)
        self.parked.append(slot)

    def _close(self, slot):
        for slots in (self.turns, self.parked):
            if slot in slots:
                slots.remove(slot)
        self.kv.release(slot.index)
        slot.state = State.FREE

    # completions

    def _report(self, event, slot, **fields):
        self._post(event, slot.request.id, slot=slot.index, position=slot.known, **fields)

    def _post(self, event, name, *, code=0, slot=NO_SLOT, token=NONE, position=0):
        self._posted += 1
        fields = {"number": self._posted & NONE, "id": name, "event": event, "code": code, "slot": slot,
                  "token": token, "position": position, "pass": self._passes & NONE}
        assert set(fields) | {"cycles"} == {name for name, *_ in COMPLETION}
        self.completions.append(fields)
