"""A slot, and whether a request may have one."""

import enum
from dataclasses import dataclass, field
from types import SimpleNamespace

from scoville.kv.model import pages_of

from .records import MAX_STOPS, NONE, Error, Flag, Kind

__all__ = ["Setup", "Slot", "State", "family", "judge", "most_positions"]


@dataclass(frozen=True, kw_only=True)
class Setup:
    """The registers that the schedule knows.

    Members
    -------
    kv_pages, context, vocab : the registers KV_PAGES, CONTEXT, VOCAB
    running : sequences that may run at a time, the register RUNNING
    window : WINDOW_BASE and WINDOW_LIMIT
    spans : tokens that the layers of each cache group look back on, themselves counted; 0 for all
    """

    kv_pages: int
    context: int
    vocab: int
    running: int
    window: tuple = (0, 1 << 64)
    spans: tuple = (0,)


class State(enum.Enum):
    """Of a slot."""

    FREE = 0
    WAITING = 1  # for its first pass, or to be computed again; it has no pages
    RUNNING = 2
    PARKED = 3  # the sequence has ended; its pages stay


@dataclass(eq=False)
class Slot:
    """A place for a sequence.

    Members
    -------
    request : the fields of its request
    number : of the request, in the order in which they were taken from the ring
    known : tokens in its buffer; `computed` : of these, how many have their keys and values in pages
    """

    index: int
    state: State = State.FREE
    request: SimpleNamespace = field(default_factory=SimpleNamespace)
    number: int = 0
    known: int = 0
    computed: int = 0

    @property
    def rank(self):
        """The smallest is served first, the largest gives way first."""
        return -self.request.priority, self.number

    @property
    def left(self):
        """Tokens to compute; 1 while it decodes."""
        return self.known - self.computed


def most_positions(request):
    """Positions that a request may come to: the last token that it samples is never computed."""
    return min(request.prompt + request.limit - 1, request.room - 1, request.context)


def family(slots, request):
    """The slot that holds the tokens that a request shares, or None."""
    return next((slot for slot in slots if slot.state is not State.FREE and slot.request.id == request.parent
                 and slot.request.tenant == request.tenant), None)


def judge(request, slots, setup, config):
    """The first `Error` that applies to a request, or None."""
    r = request
    low, high = setup.window

    def inside(address, size, step):
        return address % step == 0 and low <= address and address + size <= high

    def buffers():
        rows = most_positions(r) - r.prompt  # but one
        return (inside(r.tokens, 4 * r.room, 4) and (not r.stop_count or inside(r.stops, 4 * r.stop_count, 4))
                and (not r.logits or (r.logits_stride % config.bus_bytes == 0 and inside(
                    r.logits, rows * r.logits_stride + 4 * setup.vocab, config.bus_bytes))))

    wrong = {
        Error.KIND: lambda: r.kind != Kind.REQUEST or r.flags & ~int(Flag.PARK) or r.rest,
        Error.ID: lambda: r.id == NONE or any(s.state is not State.FREE and s.request.id == r.id for s in slots),
        Error.LENGTH: lambda: not r.prompt or not r.limit or r.room <= r.prompt,
        Error.CONTEXT: lambda: not 0 < r.context <= setup.context or r.prompt > r.context,
        Error.POOL: lambda: config.cache_groups * pages_of(most_positions(r)) > setup.kv_pages,
        Error.VALUE: lambda: r.temperature >> 31,
        Error.STOPS: lambda: r.stop_count > MAX_STOPS,
        Error.WINDOW: lambda: not buffers(),
        Error.PARENT: lambda: r.shared if r.parent == NONE else r.shared > r.prompt or not family(slots, r),
        Error.FULL: lambda: all(slot.state in (State.WAITING, State.RUNNING) for slot in slots),
    }
    return next((error for error, applies in wrong.items() if applies()), None)
