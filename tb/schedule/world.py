"""A chip without numerics: requests come, a function samples, pages remember who wrote them.

What a sequence gives alone is known beforehand, so every token, page and completion of a schedule can be judged.
"""

import dataclasses
from types import SimpleNamespace

from scoville.config import PAGE_TOKENS, get_config
from scoville.kv.model import KvModel, pages_of
from scoville.schedule.model import Scheduler
from scoville.schedule.records import NONE, Error, Event, Kind, Reason
from scoville.schedule.slots import Setup, State, most_positions

__all__ = ["VOCAB", "Buffers", "World", "alone", "chip", "nobody_left"]

VOCAB = 64
STEP = 1 << 16  # from one buffer's address to the next


def chip(*, lanes=4, phases=1, slots=8, groups=1, slot_pages=8):
    """A configuration; only the sizes that the schedule knows matter."""
    return dataclasses.replace(get_config("nano"), name="schedule", lanes=lanes, phases=phases, slots=slots,
                               cache_groups=groups, pool_pages=1024, slot_pages=slot_pages)


class Buffers:
    """u32 words at addresses, a list a buffer; `broken` holds addresses of words that answer with a bus error, and with
    each all in the same `grain` bytes."""

    def __init__(self):
        self.words, self.broken, self.grain = {}, set(), 4

    def place(self, words, room):
        """Address of a new buffer."""
        address = STEP * (len(self.words) + 1)
        self.words[address] = [*words, *[NONE] * (room - len(words))]
        return address

    def read(self, address, count):
        base = address // STEP * STEP
        first = (address - base) // 4
        if self.fails(address, address + 4 * count):
            return None
        return self.words[base][first:first + count]

    def fails(self, start, end):
        """Whether reading what lies from `start` up to `end` gives a bus error."""
        return any(start // self.grain <= word // self.grain <= (end - 1) // self.grain for word in self.broken)

    def write(self, address, token):
        self.words[address // STEP * STEP][address % STEP // 4] = token


def sample(request, position, token):
    """What the model and the sampler would say: a function of the sequence alone."""
    return ((request.seed + 7 * position) * 2654435761 + token * 40503 >> 7) % VOCAB


def alone(request, prompt, stops):
    """(tokens, reason): the outputs of a sequence that has the chip to itself."""
    known, outputs = list(prompt), []
    while True:
        token = sample(request, len(known) - 1, known[-1])
        known.append(token)
        outputs.append(token)
        if token in stops:
            return outputs, Reason.STOP
        if len(outputs) == request.limit or len(known) == request.room:
            return outputs, Reason.LENGTH
        if len(known) > request.context:
            return outputs, Reason.CONTEXT


class World:
    """Host, memory and datapath round a `Scheduler`, and what must hold of it.

    Parameters
    ----------
    config : ChipConfig
    pages : of the pool
    running, spans, window : as in `Setup`
    kind : Scheduler, or a class of it

    Members
    -------
    told : id to what the host knows of a request
    passes, preemptions, seats : so far; `shared` : runs of a sequence whose first page has several owners
    """

    def __init__(self, config, pages, *, running=None, spans=None, window=(0, 1 << 40), kind=Scheduler):
        self.config = config
        self.setup = Setup(kv_pages=pages, context=config.slot_pages * PAGE_TOKENS, vocab=VOCAB,
                           running=running or config.seats, window=window, spans=spans or (0,) * config.cache_groups)
        self.buffers, self.kv = Buffers(), KvModel(config, pages)
        self.scheduler = kind(config, self.kv, self.buffers, self.setup)
        self.ran, deal = [], self.scheduler._deal  # who ran when the plan was made, for the last time

        def noted():
            self.ran = list(self.scheduler.turns)
            return deal()

        self.scheduler._deal = noted
        self.written = [[None] * PAGE_TOKENS for _ in range(pages)]  # who wrote: the hash of all tokens to there
        self.told = {}  # id to what the host knows of it
        self.passes = self.preemptions = self.shared = self.seats = 0
        self.waited = {}  # slot to passes without a seat, of those that decode

    # the host

    def request(self, name, prompt, *, room=None, limit=NONE, stops=(), valid=True, **fields):
        """Submit a request; returns its record of what must come of it."""
        room = room or len(prompt) + min(limit, 1000)
        fields = {"tenant": 0, "priority": 0, "flags": 0, "context": self.setup.context, "temperature": 0, "seed": 0,
                  "parent": NONE, "logits": 0, "logits_stride": 0, "shared": 0, "prompt": len(prompt),
                  "kind": Kind.REQUEST, "rest": False} | fields
        it = SimpleNamespace(id=name, room=room, limit=limit, stop_count=len(stops),
                             tokens=self.buffers.place(prompt, max(room, len(prompt))),
                             stops=self.buffers.place(stops, len(stops)), **fields)
        told = SimpleNamespace(request=it, words=list(prompt), got=[], final=None, state="open", since=self.passes,
                               before=0, hashes=[], preempted=0, number=len(self.told))
        if valid:
            told.expected, told.reason = alone(it, prompt, stops)
            value = hash((it.tenant, "tenant"))
            for token in (*prompt, *told.expected):
                value = hash((value, token))
                told.hashes.append(value)
            self._ranks(told)
            self.told[name] = told
        self.scheduler.submit(vars(it))
        self.listen()
        return told

    def _ranks(self, told):
        """Count who is before whom, by rank."""
        rank = -told.request.priority, told.number
        for other in self.open:
            first = other if (-other.request.priority, other.number) < rank else told
            (told if first is other else other).before += 1

    def cancel(self, name):
        self.scheduler.submit({"kind": Kind.CANCEL, "id": name})
        self.listen()

    @property
    def open(self):
        """What the host waits for."""
        return [told for told in self.told.values() if told.final is None]

    def listen(self):
        """Completions, in order; each must be one that the host expects."""
        heard = []
        while self.scheduler.completions:
            done = SimpleNamespace(**self.scheduler.completions.popleft())
            heard.append(done)
            told = self.told.get(done.id)
            if told is None or done.code in (Error.ID, Error.KIND) and done.event == Event.ERROR:
                continue
            if done.event == Event.EVICTED:
                assert told.state == "parked"
                told.state = "gone"
                continue
            assert told.final is None, "a completion after the final one"
            if done.event == Event.PREEMPTED:
                told.preempted += 1
                self.preemptions += 1
            elif done.token != NONE:
                told.got.append(done.token)
                assert done.position == len(told.words) + len(told.got)
                assert self.buffers.words[told.request.tokens][:done.position] == told.words + told.got
            if done.event in (Event.FINISHED, Event.ERROR):
                parked = done.event == Event.FINISHED and done.code != Reason.CANCELLED and told.request.flags
                told.final, told.state = done, "parked" if parked else "gone"
                told.passes = self.passes - told.since
        return heard

    def longest(self, told):
        """The bound of docs/schedule.md: passes from taking a request to its end."""
        positions = max(most_positions(other.request) for other in self.told.values())
        turns = -(-self.setup.running // self.config.seats)
        return (2 * told.before + 1) * (self.setup.running + turns) * positions

    # a pass

    def step(self):
        """Plan a pass, judge it, compute it. Returns the completions, or None if there was nothing to compute."""
        was_waiting = {slot.index: slot.rank for slot in self.scheduler.waiting}
        plan = self.scheduler.plan()
        heard = self.listen()
        assert not any(self.kv.slots[slot.index].open for slot in self.scheduler.waiting), "who waits has pages"
        if plan is None:
            assert not any(slot.state in (State.WAITING, State.RUNNING) for slot in self.scheduler.slots), "idle"
            return None
        self._admitted_in_order(was_waiting, heard)
        self._served(plan)
        sampled = [self._compute(run) for run in plan.runs]
        self.passes += 1
        self.scheduler.complete(plan, [token for token in sampled if token is not None])
        self.kv.check()
        return heard + self.listen()

    def _admitted_in_order(self, was_waiting, heard):
        """Nobody is admitted before one of lower rank, unless that waits for its parent; nobody where one gave way."""
        slots = self.scheduler.slots
        admitted = [rank for index, rank in was_waiting.items() if slots[index].state is State.RUNNING]
        assert not admitted or not any(done.event == Event.PREEMPTED for done in heard)
        for slot in self.scheduler.waiting:
            if slot.request.parent == NONE and slot.index in was_waiting:
                assert all(rank < slot.rank for rank in admitted), "overtaken"

    def _served(self, plan):
        """Seats are filled while there are tokens; one that decodes waits for its turn, and no longer."""
        turns, ran = self.scheduler.turns, self.ran
        total = sum(len(run.tokens) for run in plan.runs)
        assert total == min(self.config.seats, sum(slot.left for slot in turns)), "a seat is empty"
        assert len({run.slot for run in plan.runs}) == len(plan.runs)
        self.seats += total
        first = min((slot for slot in ran if slot in turns and slot.left > 1), key=lambda slot: slot.rank, default=None)
        seats = {run.slot: len(run.tokens) for run in plan.runs}
        prompts = sorted((slot for slot in turns if slot.left > 1 or slot not in ran),
                         key=lambda slot: (slot not in ran, slot.rank))
        short = [slot.left - seats.get(slot.index, 0) for slot in prompts]
        overtaken = [slot for n, slot in enumerate(prompts) if any(short[:n]) and slot.index in seats]
        assert not overtaken, "a prompt is overtaken"
        served = {slot.index for slot in ran if slot in turns and (slot.left == 1 or slot is first)}
        self.waited = {index: 0 if index in seats else self.waited.get(index, 0) + 1 for index in served}
        assert all(count < -(-self.setup.running // self.config.seats) for count in self.waited.values()), "no turn"

    def _compute(self, run):
        """Write a run's keys and values, read all that came before; the token, if it samples."""
        slot = self.scheduler.slots[run.slot]
        told = self.told[slot.request.id]
        known = told.words + told.got
        end = run.first + len(run.tokens)
        oldest = self.kv.read(run.slot, 0, 0)
        self.shared += oldest is not None and self.kv.owners[oldest] > 1
        assert tuple(known[run.first:end]) == run.tokens
        assert run.samples == (end == len(known))
        for group, span in enumerate(self.setup.spans):
            for position in range(run.first, end):
                page = self.kv.write(run.slot, group, position // PAGE_TOKENS)
                assert page is not None, "no page to write"
                self.written[page][position % PAGE_TOKENS] = told.hashes[position], group
            seen = max(run.first - span + 1, 0) if span else 0
            for index in range(seen // PAGE_TOKENS, pages_of(end)):
                page = self.kv.read(run.slot, group, index)
                assert page is not None, "no page to read"
                first, behind = max(seen, index * PAGE_TOKENS), min((index + 1) * PAGE_TOKENS, end)
                there = self.written[page][first % PAGE_TOKENS:first % PAGE_TOKENS + behind - first]
                assert there == [(told.hashes[n], group) for n in range(first, behind)], "another's page"
        return sample(slot.request, end - 1, run.tokens[-1]) if run.samples else None

    def finish(self, most=100_000):
        """Run until nothing is open; then everything must be as it should."""
        while self.step() is not None:
            assert self.passes < most, "it does not end"
        assert not self.open, "a request without a final completion"
        for told in self.told.values():
            assert told.passes <= self.longest(told), "it waited too long"
            if told.final.event == Event.FINISHED and told.final.code != Reason.CANCELLED:
                assert told.got == told.expected, "other tokens than alone"
                assert told.final.code == told.reason
            else:
                assert told.got == told.expected[:len(told.got)]
        for name, told in self.told.items():
            if told.state == "parked":
                self.cancel(name)
        assert self.kv.free == self.kv.pages, "pages are lost"
        assert not self.scheduler.turns and not self.scheduler.parked
        assert all(slot.state is State.FREE for slot in self.scheduler.slots)


def nobody_left(config, kind=Scheduler):
    """A world to its end: in one plan a sequence gives way, and then the only other one that runs fails."""
    world = World(config, 4 * config.cache_groups, running=2, kind=kind)
    victim = world.request(1, [1] * 31, limit=5)
    while not victim.got:
        world.step()
    world.request(2, [2] * config.seats + [VOCAB] + [2] * 64, limit=1, priority=5)
    world.finish()
    assert victim.preempted == 1
    return world
