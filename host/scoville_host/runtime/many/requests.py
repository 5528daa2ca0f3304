"""The driver of many sequences: requests in, tokens out. Whoever waits for a token lets the chip go on for all."""

import heapq
from collections import deque

import numpy as np
from scoville.schedule.records import MAX_STOPS, NONE, Error, Event, Flag, Kind, Reason

from ...errors import ChipError, RequestError
from ..backend import check_request
from ..driver import ERROR, START, fault, temperature_bits
from .heap import Heap
from .prefixes import Prefixes
from .rings import Rings
from .sequence import Refused, Sequence

__all__ = ["Requests", "check_one"]


def check_one(image, prompt, limit, *, temperature, seed, stops, priority, tenant):
    """The limit of a request, cut to the positions that there are; RequestError if no chip could serve it."""
    for what, value, most in (("priority", priority, 255), ("tenant", tenant, NONE), ("seed", seed, (1 << 64) - 1),
                              ("the number of stop tokens", len(stops), MAX_STOPS)):
        if not 0 <= value <= most:
            raise RequestError(f"{what} is {value}; it must be 0 to {most}")
    if wrong := [token for token in stops if not 0 <= token < NONE]:
        raise RequestError(f"stop token {wrong[0]} is no token id")
    return check_request(image, prompt, limit, temperature)


class Requests:
    """All sequences of a machine. For one thread.

    At most as many as there are slots are sent and have not ended, so none is refused for want of a slot; others wait
    here, by priority and then in the order of submitting, as they would in a slot. So do those that have no room in
    memory for their buffers yet.

    Parameters
    ----------
    machine : Machine, not started
    plan : Plan of its memory

    Members
    -------
    open : how many sequences have not ended
    failed : what stopped the chip, or None
    heard : sequences of which the last `go_on` heard a token, some twice
    passes : up to the last completion that was heard, since the start
    """

    def __init__(self, machine, plan):
        self.machine, self.plan = machine, plan
        self.heap, self.prefixes, self.rings = Heap(*plan.heap), Prefixes(), Rings(machine, plan.registers)
        self.failed = None
        self._waiting = []  # (-priority, number, sequence), a heap
        self._cancels, self._orphans = deque(), deque()  # names; sequences that are sent again, without a parent
        self._sent, self._parked = {}, set()  # sequences that have not ended, by name; names that parked slots have
        self.heard = []
        self._buffers, self._ended = {}, []  # address by name; sequences that `go_on` has not returned yet
        self.open = self.passes = self._number = self._name = 0
        for register, value in plan.registers.items():
            machine.write(register, value)
        machine.write("CONTROL", START)
        self._look()

    def again(self):
        """A driver of the same chip after a soft reset, without sequences; this one is not used any more.

        Raises
        ------
        ChipError
            If the chip does not obey.
        """
        self.machine.reset()
        return type(self)(self.machine, self.plan)

    def submit(self, prompt, limit, *, temperature=0.0, seed=0, stops=(), priority=0, tenant=0, park=True):
        """A new `Sequence`; `limit` tokens at most, and no more than the context has positions for.

        Parameters
        ----------
        stops : token ids that end it
        priority : 0 to 255, higher first
        tenant : pages are shared within a tenant only
        park : at its end its pages stay for others to share, until they are needed. Without it a sequence that ends
            with its first token takes the pages along that others may wait for

        Raises
        ------
        RequestError
            If the chip could never serve it.
        ChipError
            If the chip has stopped.
        """
        if self.failed:
            raise self.failed
        stops = list(dict.fromkeys(stops))
        limit = check_one(self.plan.image, prompt, limit, temperature=temperature, seed=seed, stops=stops,
                          priority=priority, tenant=tenant)
        sequence = Sequence(self, prompt, limit, temperature=temperature, seed=seed, stops=stops, priority=priority,
                            tenant=tenant, park=park)
        self.open += 1
        self._number += 1
        heapq.heappush(self._waiting, (-priority, self._number, sequence))
        self._send()
        return sequence

    def cancel(self, sequence):
        """See `Sequence.cancel`."""
        if sequence.name in self._sent or sequence.name in self._parked:
            sequence.cancelled = True
            self.prefixes.remove(sequence.name)
            self._cancels.append(sequence.name)
            self._send()
        elif not sequence.ended:
            self._end(sequence, reason=Reason.CANCELLED)

    def go_on(self, until=None):
        """Let the chip compute, and hear what came of it; the sequences that have ended since the last time.

        Parameters
        ----------
        until : the machine's time at which to return though nothing has come, or None

        Raises
        ------
        ChipError
            If the chip has stopped. So do all sequences then.
        """
        if self.failed:
            raise self.failed
        self.heard = []
        self._send()
        more = self.machine.wait(until)
        self._look()
        done = self.rings.take()
        for each in done:
            self._hear(each)
        if not more and not done and self.open:
            self._fail(f"the chip has nothing to do, and {self.open} sequences have not ended")
        self._send()
        ended, self._ended = self._ended, []
        return ended

    def row(self, sequence, index):
        """The logits of a token that has come, float32 ``[vocab]``; of a plan with rows."""
        if sequence.logits is not None:
            return sequence.logits[index]
        data = self.machine.fetch(self._places(sequence)[0] + index * self.plan.row_bytes, 4 * self.plan.image.vocab)
        return np.frombuffer(data, "<f4")

    # to the chip

    def _send(self):
        """Cancels first, then who waits, while the ring, the slots and the heap have room."""
        while self._cancels and not self.rings.full:
            self.rings.put(id=self._cancels.popleft(), kind=Kind.CANCEL)
        while self._orphans and not self.rings.full:
            if (sequence := self._orphans.popleft()).cancelled:
                self._end(sequence, reason=Reason.CANCELLED)
            else:
                self._put(sequence, None, 0)
        while self._waiting and not self.rings.full:
            sequence = self._waiting[0][-1]
            if not sequence.ended:
                if len(self._sent) == self.plan.config.slots:
                    return
                parent, shared = self.prefixes.find(sequence.tenant, sequence.prompt)
                if self._sent and parent in self._parked and len(self._sent) + 1 == self.plan.config.slots:
                    return  # the slot that is left is its parent's: until one more has ended
                room = len(sequence.prompt) + sequence.limit
                address = self.heap.take(self.plan.buffer_bytes(room, len(sequence.stops)))
                if address is None:
                    return
                sequence.name = self._new_name()
                self._buffers[sequence.name] = address
                self._sent[sequence.name] = sequence
                self._put(sequence, parent, shared)
            heapq.heappop(self._waiting)

    def _new_name(self):
        while (name := self._name) == NONE or name in self._sent or name in self._parked:
            self._name = (self._name + 1) & NONE
        self._name = (self._name + 1) & NONE
        return name

    def _places(self, sequence):
        """Addresses of its rows of logits, of its tokens, and of its stop tokens."""
        rows = self._buffers[sequence.name]
        room = len(sequence.prompt) + sequence.limit
        return rows, rows + room * self.plan.row_bytes, rows + room * (self.plan.row_bytes + 4)

    def _put(self, sequence, parent, shared):
        rows, tokens, stops = self._places(sequence)
        self.machine.store(tokens, np.array(sequence.prompt, "<u4").tobytes())
        self.machine.store(stops, np.array(sequence.stops, "<u4").tobytes())
        self.rings.put(
            id=sequence.name, kind=Kind.REQUEST, flags=Flag.PARK if sequence.park else 0, priority=sequence.priority,
            tenant=sequence.tenant, prompt=len(sequence.prompt), room=len(sequence.prompt) + sequence.limit,
            limit=sequence.limit, context=self.plan.image.context, temperature=temperature_bits(sequence.temperature),
            tokens=tokens, seed=sequence.seed, stops=stops, stop_count=len(sequence.stops),
            parent=NONE if parent is None else parent, shared=shared,
            logits=rows if self.plan.rows else 0, logits_stride=self.plan.row_bytes)
        sequence.shared = shared
        self.prefixes.add(sequence.tenant, sequence.name, sequence.prompt)

    # from the chip

    def _look(self):
        if (status := self.machine.read("STATUS")) & ERROR:
            self._fail(fault(status, self.machine.read("ERROR_ADDRESS")))

    def _hear(self, done):
        self.passes += (getattr(done, "pass") - self.passes) & NONE
        if done.event == Event.EVICTED:
            self._parked.discard(done.id)
            self.prefixes.remove(done.id)
            return
        sequence = self._sent.get(done.id)
        if done.event == Event.ERROR and done.code in (Error.OVERRUN, Error.ID):  # what a correct driver never causes
            self._fail(f"{Refused(done.id, done.code)}; token {done.token:#x}")
        if sequence is None:
            self._fail(f"completion {done.number} is of {done.id}, which is no open request")
        if done.event == Event.PREEMPTED:
            sequence.preempted += 1
            self.prefixes.remove(sequence.name)  # its pages, until they are computed again
        elif done.event == Event.ERROR:
            self._refuse(sequence, done.code)
        else:
            self._token(sequence, done)

    def _refuse(self, sequence, code):
        self.prefixes.remove(sequence.name)
        if code == Error.PARENT and sequence.shared:  # who had the pages has ended meanwhile
            self._orphans.append(sequence)
        else:
            self._end(sequence, error=Refused(sequence.name, code))

    def _token(self, sequence, done):
        if done.token != NONE:
            sequence.ids.append(done.token)
            self.heard.append(sequence)
            sequence.times.append(done.cycles or getattr(done, "pass"))
            if not sequence.cancelled:
                self.prefixes.add(sequence.tenant, sequence.name, sequence.ids)
        if done.position != len(sequence.ids):
            self._fail(f"completion {done.number} has position {done.position}; it is token {len(sequence.ids)} of "
                       f"request {done.id}")
        elif done.event == Event.FINISHED:
            if sequence.park and done.code != Reason.CANCELLED:
                self._parked.add(sequence.name)
            else:
                self.prefixes.remove(sequence.name)
            self._end(sequence, reason=Reason(done.code))

    def _end(self, sequence, *, reason=None, error=None):
        if self._sent.pop(sequence.name, None):
            if self.plan.rows:
                count, stride = len(sequence.tokens), self.plan.row_bytes
                rows = np.frombuffer(self.machine.fetch(self._places(sequence)[0], count * stride), "<f4")
                sequence.logits = rows.reshape(count, stride // 4)[:, :self.plan.image.vocab].copy()
            self.heap.give(self._buffers.pop(sequence.name))
        sequence.reason, sequence.error = reason, error
        self.open -= 1
        self._ended.append(sequence)

    def _fail(self, why):
        """The chip has stopped, or cannot be trusted any more: no sequence goes on."""
        self.failed = ChipError(why)
        for sequence in (*self._sent.values(), *(sequence for *_, sequence in self._waiting)):
            if not sequence.ended:
                sequence.error = self.failed
        for each in (self._waiting, self._orphans, self._cancels, self._sent):
            each.clear()
        self.open = 0
        raise self.failed
