"""What is true of the KV-cache controller in every cycle, also in the middle of an operation, for one cache group.

Of a page that changes hands three registers may be on the way: of the walk (`moved`), of the change that it makes, and
of the pool. The pool's counts are compared as they will be behind them.
"""

from itertools import combinations

from amaranth.hdl import Array, Assert, Cat, Const, Mux, Signal
from scoville.kv.layouts import Op, command_layout, lengths_layout
from scoville.kv.pool import change_layout

__all__ = ["Invariants"]


def total(bits):
    """How many of some 1-bit values are 1."""
    return sum(bits, start=Const(0))


class Invariants:
    """Asserts them.

    Parameters
    ----------
    m : Module of the claim
    seen : the controller, `Opened`
    unit : KvController
    places : every `Place`
    """

    def __init__(self, m, seen, unit, places):
        self.m, self.seen, self.config, self.places = m, seen, unit.config, places
        self.state = seen.states("operations.fsm_state")
        self.command = command_layout(unit.config)(seen["operations._command"])
        self.kept = lengths_layout(unit.config)(seen["operations._lengths"])
        self.index, self.left, self.moved = (seen[f"operations.{name}"] for name in ("_index", "_left", "moved"))
        self.change = change_layout(unit.config)(seen["change__payload"])
        self.changing = change_layout(unit.config)(seen["pool.change"])
        self.done = Signal(len(self.index))  # entries below have left the walk
        m.d.comb += self.done.eq(self.index - self.moved)
        self.walks = self.state["WALK"] | self.state["SETTLE"] | self.state["SHOW"]
        self.waits = self.state["QUIET"]
        op = self.command.op
        self.gives = (op == Op.FORK) | (op == Op.RESERVE)
        self._pool()
        self._owners()
        self._walk()

    def _assert(self, *claims):
        self.m.d.comb += [Assert(claim) for claim in claims]

    def of(self, slot, name):
        """A word of the tables of the slot that a register names."""
        first = {place.slot: place for place in reversed(self.places)}
        words = {"length": lambda it: it.lengths.length, "full": lambda it: it.lengths.full,
                 "gone": lambda it: it.lengths.gone[0], "tenant": lambda it: it.tenant,
                 "open": lambda it: self.seen["tables.is_open"][it.slot]}
        return Array(words[name](first[number]) for number in range(self.config.slots))[slot]

    def there(self, where, page):
        """A page that was looked up at a place, and is used, still is the slot's: found, or hidden for the while."""
        op = self.command.op
        hidden = self.waits & ((op == Op.LEAVE) | (op == Op.RELEASE))
        return Cat((where == number) & (place.page == page) & self.seen["translation.used"][place.slot] & (
            place.found | hidden & (self.command.slot == place.slot) & (place.index >= self.index)
            & (place.index < self.index + self.left)) for number, place in enumerate(self.places)).any()

    def entry(self, slot, index):
        """The page in a table."""
        return Array(place.page for place in self.places)[Cat(index[:(self.config.slot_pages - 1).bit_length()], slot)]

    def _pool(self):
        """Each page is in one place: fresh, among those that came back, or somebody's."""
        seen, pages = self.seen, self.config.pool_pages
        fresh, limit = seen["pool.fresh"], seen["pool.limit"]
        level, consume, produce = (seen[f"pool.returned.{name}"] for name in ("inner_level", "consume", "produce"))
        ready, head = seen["pool.returned.r_rdy"], seen["pool.returned.r_data"]
        self._assert(limit <= pages, fresh <= limit, level <= pages, produce == (consume + level)[:len(consume)])
        waiting = [((consume + k)[:len(consume)], k < level) for k in range(pages)]
        words = [(seen.word("pool.returned.storage", at), there) for at, there in waiting]
        words += [(head, ready), (seen["pool.w_data"], seen["pool.w_en"])]
        self.free = []
        for page in range(pages):
            times = total(there & (word == page) for word, there in words)
            self._assert((times == 0) | (times == 1) & (page < fresh))
            self.free.append((times != 0) | (page >= fresh))

    def _owners(self):
        """A page's count is that of the entries that hold it; two of them share it."""
        seen, m, slot = self.seen, self.m, self.command.slot
        op = self.command.op
        forks = self.walks & (op == Op.FORK)
        holds, full = [], []
        for place in self.places:
            own = self.walks & (slot == place.slot)
            got = own & self.gives & (place.index < self.done) & (place.index >= place.lengths.length)
            gives = (own | self.waits & (slot == place.slot)) & (
                (op == Op.LEAVE) | (op == Op.RELEASE)) & (place.index >= self.done) & (
                place.index < self.done + self.moved + self.left)
            it = Signal(name=f"holds_{place.slot}_{place.index}")
            m.d.comb += it.eq(place.found | got | gives)
            holds.append(it)
            full.append(place.full | forks & (slot == place.slot))
        for (one, a), (other, b) in combinations(list(enumerate(self.places)), 2):
            may = a.slot != b.slot and a.index == b.index
            shares = full[one] & full[other] & (a.tenant == b.tenant) if may else 0
            self._assert(~(holds[one] & holds[other] & (a.page == b.page)) | shares)
        for page in range(self.config.pool_pages):
            others = seen.word("pool.others", Const(page, range(self.config.pool_pages)))
            up, down = [], []
            for valid, change in ((seen["change__valid"], self.change), (seen["pool.changing"], self.changing)):
                now = valid & (change.page == page)
                up.append(now & change.share)
                down.append(now & ~change.share)
            holders = total(it & (place.page == page) for it, place in zip(holds, self.places, strict=True))
            counted = Mux(self.free[page], 0, others + 1)
            self._assert(counted + total(up) == holders + total(down), ~self.free[page] | ~Cat(up, down).any())
        self._assert(~seen["pool.changing"] | (seen["pool.last"] == (Array(
            seen.word("pool.others", Const(page, range(self.config.pool_pages)))
            for page in range(self.config.pool_pages))[self.changing.page] == 0)))
        for place in self.places:
            lengths = place.lengths
            self._assert((~seen["tables.is_open"][place.slot] & ~((self.walks | self.waits) & (slot == place.slot)))
                         | (lengths.gone[0] <= lengths.full) & (lengths.full <= lengths.length)
                         & (lengths.length <= self.config.slot_pages))

    def _walk(self):
        """What an operation that changes pages knows, and what is on the way."""
        seen, state, op, slot, parent = self.seen, self.state, self.command.op, self.command.slot, self.command.parent
        kept, change = self.kept, seen["change__valid"]
        end = self.index + self.left
        is_open, length, full, gone = (self.of(slot, name) for name in ("open", "length", "full", "gone"))
        source = Mux(op == Op.FORK, parent, slot)
        there = self.done  # the entry of `moved`
        self._assert(
            ~self.walks | self.gives | (op == Op.LEAVE) | (op == Op.RELEASE),
            ~state["SETTLE"] | ~self.gives,
            self.walks | ~(self.moved | change), state["WALK"] | ~self.moved,
            ~(state["SETTLE"] | state["SHOW"]) | (self.left == 0), ~state["SHOW"] | self.gives | ~change,
            self.walks | ~seen["pool.changing"] | self.changing.share,
            ~self.walks | (op != Op.RESERVE) | ~(change | seen["pool.changing"]),
            ~self.walks | (end <= self.config.slot_pages),
            ~self.moved | (self.index != 0),
            ~self.moved | (seen["operations.there"][:-1] == there[:len(seen["operations.there"]) - 1])
            & (seen["operations.there"][-1] == slot),
            ~self.moved | (op == Op.RESERVE) | (seen["edit__page"] == self.entry(source, there)),
            ~(self.walks & ~self.gives & (change | seen["pool.changing"])) | ~self.change.share | ~change,
            ~(self.walks & (op == Op.FORK) & change) | self.change.share,
            # RESERVE
            ~(self.walks & (op == Op.RESERVE)) | is_open & (kept.length == end) & (kept.full == full)
            & (kept.gone[0] == gone) & (self.done >= length) & (seen["pool.free"] >= self.left + self.moved),
            # FORK
            ~(self.walks & (op == Op.FORK)) | is_open & (length == 0) & (kept.length == end) & (kept.full == end)
            & (kept.gone[0] == 0) & self.of(parent, "open") & (self.of(parent, "gone") == 0)
            & (end <= self.of(parent, "full")) & (self.of(parent, "tenant") == self.of(slot, "tenant"))
            & (parent != slot),
            # LEAVE, RELEASE
            ~self.waits | (op == Op.COMMIT) | (op == Op.LEAVE) | (op == Op.RELEASE),
            ~(self.waits & (op != Op.COMMIT)) | (end <= self.config.slot_pages),
            ~((self.waits | self.walks) & (op == Op.LEAVE)) | is_open & (gone == end),
            ~((self.waits | self.walks) & (op == Op.RELEASE)) | ~is_open & (length == end),
        )
        for place in self.places:
            entered = self.walks & (op == Op.FORK) & (slot == place.slot) & (place.index < self.done)
            self._assert(~entered | (place.page == self.entry(parent, Const(place.index, len(self.index)))))
