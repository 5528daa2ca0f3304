"""The KV-cache controller: slots and tenants are isolated, no page is lost, whatever is commanded and looked up."""

from itertools import combinations

from amaranth.hdl import Array, Assert, Assume, Cat, Const, Cover, ResetSignal, Signal, Value
from scoville.config import PAGE_TOKENS
from scoville.kv.controller import KvController
from scoville.kv.layouts import Op, command_layout
from scoville.kv.operations import Operations

from formal.around import Around
from formal.kv.invariants import Invariants
from formal.kv.pool import small
from formal.planted import planted
from formal.proof import Proof
from formal.rules import assume_stream

__all__ = ["PROOFS", "with_fault"]


def with_fault(part, right, wrong):
    """The controller with a fault in a part's source."""
    joined = f"{part.__name__}(self.config)"
    controller = planted(KvController, joined, joined)  # a copy, whose part may be another
    controller.elaborate.__globals__[part.__name__] = planted(part, right, wrong)
    return controller


class Place:
    """An entry of a table: its page, and whether a lookup finds it."""

    def __init__(self, seen, config, slot, group, index, path="tables."):
        self.slot, self.group, self.index = slot, group, index
        address = (slot * config.cache_groups + group) * config.slot_pages + index
        depth = config.slots * config.cache_groups * config.slot_pages
        self.page = seen.word(path + "entries", Const(address, range(depth)))
        self.lengths = seen.word(path + "lengths", Const(slot, range(config.slots)))
        self.tenant = seen.word(path + "tenants", Const(slot, range(config.slots)))
        self.found = (seen[path + "is_open"][slot] & (self.lengths.gone[group] <= index)
                      & (index < self.lengths.length))
        self.full = index < self.lengths.full

    @classmethod
    def all(cls, seen, config, path="tables."):
        """Every place there is, in the order of their addresses."""
        return [cls(seen, config, slot, group, index, path) for slot in range(config.slots)
                for group in range(config.cache_groups) for index in range(config.slot_pages)]


class KeepsPagesApart(Around):
    """Whatever is commanded and looked up; `pages` is free, and users say truly when they are at rest.

    Of a tenant's number one bit is free: tenants are compared, and no more. With `scripted`, the covers alone are
    to be reached, by operations that are known.
    """

    free = ("pick",)

    SCRIPT = ((Op.OPEN, 0, 0, 0), (Op.RESERVE, 0, 0, PAGE_TOKENS), (Op.COMMIT, 0, 0, PAGE_TOKENS), (Op.OPEN, 1, 0, 0),
              (Op.FORK, 1, 0, 1), (Op.RELEASE, 0, 0, 0), (Op.RELEASE, 1, 0, 0), (Op.MISSING, 0, 0, 0))

    def __init__(self, unit, *, scripted=False):
        super().__init__(unit)
        self.scripted = scripted

    def elaborate(self, platform):
        m, seen = self.begin()
        kv, config = self.unit, self.unit.config
        for stream in (kv.command, kv.read, kv.append):
            assume_stream(m, stream)
        m.d.comb += [Assume(~kv.command.payload.tenant[1:].any()),
                     Assume(~kv.rest | ~(kv.read_page.valid | kv.append_page.valid))]
        if self.scripted:
            self._script(m)
        places = Place.all(seen, config)
        known = Invariants(m, seen, kv, places)
        take, page = seen["pool.take"], seen["taken__payload"]
        for one, other in combinations(places, 2):
            may = one.slot != other.slot and one.index == other.index
            shares = one.full & other.full & (one.tenant == other.tenant) if may else 0
            m.d.comb += Assert(~(one.found & other.found & (one.page == other.page)) | shares)
        m.d.comb += [Assert(~(take & place.found & (place.page == page))) for place in places]
        self._uses(m, seen, places, known, take, page)

        # Between two operations a page is free or in a table.
        between, limit = known.state["IDLE"] | known.state["ANSWER"], seen["pool.limit"]
        nobodys = sum((~Cat(place.found & (place.page == number) for place in places).any() & (number < limit)
                       for number in range(config.pool_pages)), start=Const(0))
        m.d.comb += [
            Assert(~between | (kv.free == nobodys)),
            Cover(between & (kv.free == limit) & (seen["pool.fresh"] == 1)),
            Cover(between & places[0].found & places[config.slot_pages].found
                  & (places[0].page == places[config.slot_pages].page)),
        ]
        return m

    def _script(self, m):
        """The operations one behind the other; slot 0 is looked at once, and used for a while of its release."""
        kv, number = self.unit, Signal(range(len(self.SCRIPT)))
        with m.If(kv.command.valid & kv.command.ready & (number != len(self.SCRIPT) - 1)):
            m.d.sync += number.eq(number + 1)
        words = Array(Value.cast(command_layout(kv.config).const(dict(zip(
            ("op", "slot", "parent", "amount"), words, strict=True)))) for words in self.SCRIPT)
        late = Signal(3)
        with m.If((number == 6) & ~late.all()):
            m.d.sync += late.eq(late + 1)
        looked = Signal()
        with m.If(kv.read.valid & kv.read.ready):
            m.d.sync += looked.eq(1)
        m.d.comb += [
            Assume(kv.command.valid), Assume(Value.cast(kv.command.payload) == words[number]), Assume(kv.answer.ready),
            Assume(kv.pages == 1), Assume(~ResetSignal()), Assume(kv.read.valid == ((number == 5) & ~looked)),
            Assume(Value.cast(kv.read.payload) == 0), Assume(~kv.append.valid), Assume(kv.read_page.ready),
            Assume(kv.rest == late.all()), Assume(self.pick),
        ]

    def _uses(self, m, seen, places, known, take, page):
        """Any page that a lookup has given is in use until its user is at rest, and is given to nobody meanwhile."""
        kv = self.unit
        looked = seen["translation.place"]
        looks = seen["translation.reading"] | seen["translation.appending"]
        used, in_use, of = Signal(len(page)), Signal(), Signal(len(looked))
        with m.If(in_use & kv.rest):
            m.d.sync += in_use.eq(0)
        m.d.comb += [Assert(~(take & in_use & (used == page))), Cover(in_use & known.state["QUIET"]),
                     Assert(~in_use | known.there(of, used))]
        for stage, ask, answer in (("reading", kv.read, kv.read_page), ("appending", kv.append, kv.append_page)):
            asked = Signal(len(looked), name=f"asked_{answer.valid.name}")
            with m.If(ask.valid & ask.ready):
                m.d.sync += asked.eq(ask.payload)
            gives = answer.valid & ~answer.payload.fault
            m.d.comb += [Assert(~gives | known.there(asked, answer.payload.page)),
                         Assert(~seen[f"translation.{stage}"] | (looked == asked) & ~answer.valid)]
            with m.If(gives & self.pick & ~in_use):
                m.d.sync += [in_use.eq(1), used.eq(answer.payload.page), of.eq(asked)]
        m.d.comb += [
            *(Assert(~(looks & (looked == number) & place.found) | (seen["look__page"] == place.page))
              for number, place in enumerate(places)),
        ]


FAULTS = (
    ("a page that is not full is shared", Operations, "(command.amount <= parent.full)",
     "(command.amount <= parent.length)"),
    ("a page is shared between tenants", Operations, "(self.edit.tenant == self._tenant)", "1"),
    ("a window gives back twice", Operations, "m.d.sync += self._lengths.gone[command.group].eq(self._end)", "pass"),
    ("what is used is given back", Operations, "~self.used.bit_select(slot, 1)", "1"),
    ("what is no operation is carried out", Operations, "            with m.Default():\n"
     "                m.d.sync += self._ok.eq(0)\n", ""),
)


def _broken(part, right, wrong):
    return lambda: KeepsPagesApart(with_fault(part, right, wrong)(small(slots=2)))


PROOFS = [
    Proof(name="kv.controller", depth=6, reach=60, fails=None,
          claim=lambda: KeepsPagesApart(KvController(small(slots=2))),
          covered=lambda: KeepsPagesApart(KvController(small(slots=2)), scripted=True),
          says="two owners only share a page: full, at the same place, of one tenant; no page that somebody has or "
               "uses is given out, none is lost",
          fault=FAULTS[0][0], broken=_broken(*FAULTS[0][1:]),
          others=tuple((says, _broken(*rest)) for says, *rest in FAULTS[1:])),
]
