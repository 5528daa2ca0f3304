"""The operations on the KV cache, one after the other: what is refused, what a slot's lengths become, which pages
change hands."""

from amaranth.hdl import Cat, Module, Mux, Shape, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from scoville.checks import check
from scoville.config import PAGE_TOKENS
from scoville.kv.layouts import (
    TENANT_BITS,
    Op,
    answer_layout,
    command_layout,
    lengths_layout,
    page_count,
    page_shape,
    place_layout,
)
from scoville.kv.pool import change_layout
from scoville.kv.tables import edit_signature

__all__ = ["Operations"]


class Operations(wiring.Component):
    """Carries out the operations of `scoville.kv.model.KvModel`.

    ::

        LOOK ── JUDGE ── ACT ──┬─────────────────────────────────────────────────► ANSWER
        own     parent   hide  └─► QUIET ─► WALK, an entry a cycle ─► SETTLE ─► SHOW

    What is taken from a slot is hidden from the translation first (ACT), then nobody uses it any more (QUIET), then it
    goes back (WALK). What a slot is given is written first (WALK), then shown (SHOW). The pages of a slot differ from
    each other, so a walk never meets a page twice.

    Cycles from a command to its answer, with n entries that change hands: 4 for OPEN, MISSING, and whatever is refused
    or changes nothing; COMMIT 5; FORK and RESERVE n + 6; LEAVE n + 8; RELEASE n + `cache_groups` + 7. COMMIT, LEAVE and
    RELEASE wait for `used` besides. The next command is taken in the cycle of the answer.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    command : In(stream(`command_layout`)); what is no operation is refused
    answer : Out(stream(`answer_layout`)), one a command
    used : In, a bit a slot, from `Translation`
    edit : Out(`edit_signature`), to `Tables`
    free, taken, change : In, In(stream), Out(stream), of `Pool`
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "command": In(stream.Signature(command_layout(config))),
            "answer": Out(stream.Signature(answer_layout(config))),
            "used": In(config.slots),
            "edit": Out(edit_signature(config)),
            "free": In(page_count(config)),
            "taken": In(stream.Signature(page_shape(config))),
            "change": Out(stream.Signature(change_layout(config))),
        })
        entries = Shape.cast(range(config.slot_pages + 1)).width
        self._group_bits = exact_log2(config.cache_groups)
        # Registers of the operation under way.
        self._command = Signal(command_layout(config), reset_less=True)
        self._lengths = Signal(lengths_layout(config), reset_less=True)  # as they were, then as they will be
        self._tenant = Signal(TENANT_BITS, reset_less=True)
        self._group = Signal(self._group_bits, reset_less=True)  # the walk's next entry
        self._index = Signal(entries, reset_less=True)
        self._end = Signal(entries + 1, reset_less=True)
        self._left = Signal(answer_layout(config)["pages"].shape, reset_less=True)  # entries to walk
        self._ok = Signal(reset_less=True)

    def elaborate(self, platform):
        m = Module()
        edit, op, slot = self.edit, self._command.op, self._command.slot
        gives = (op == Op.FORK) | (op == Op.RESERVE)
        step = Signal()
        m.d.comb += [
            edit.slot.eq(slot),
            edit.keep_lengths.eq(self._lengths),
            edit.begin_tenant.eq(self._command.tenant),
            self.answer.payload.ok.eq(self._ok),
            self.answer.payload.pages.eq(self._left),
        ]
        with m.FSM():
            with m.State("IDLE"):
                self._accept(m)
            with m.State("LOOK"):
                self._look(m)
                m.next = "JUDGE"
            with m.State("JUDGE"):
                self._judge(m)
                m.next = "ACT"
            with m.State("ACT"):
                refused = ~self._ok | (op == Op.RESERVE) & (self._left > self.free)
                idle = (self._left == 0) & (op != Op.OPEN) & (op != Op.RELEASE) | (op == Op.MISSING)
                m.d.sync += self._ok.eq(~refused)
                m.next = "ANSWER"
                with m.If(~refused & ~idle):
                    m.d.comb += [
                        edit.keep.eq((op == Op.OPEN) | (op == Op.COMMIT) | (op == Op.LEAVE)),
                        edit.begin.eq(op == Op.OPEN),
                        edit.end.eq(op == Op.RELEASE),
                    ]
                    with m.If(gives):
                        m.next = "WALK"
                    with m.Elif(op != Op.OPEN):
                        m.next = "QUIET"
            with m.State("QUIET"), m.If(~self.used.bit_select(slot, 1)):
                m.next = "WALK"
                with m.If(op == Op.COMMIT):
                    m.next = "ANSWER"
            with m.State("WALK"):
                m.d.comb += step.eq(self._left != 0)
                with m.If(~step):
                    m.next = "SETTLE"
                    with m.If(gives):
                        m.next = "SHOW"
                    if self.config.cache_groups > 1:
                        with m.If((op == Op.RELEASE) & ~self._group.all()):
                            self._next_group(m)
                            m.next = "WALK"
            with m.State("SETTLE"):  # until `free` counts the last page
                m.next = "SHOW"
            with m.State("SHOW"):
                m.d.comb += edit.keep.eq(gives)
                m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += self.answer.valid.eq(1)
                with m.If(self.answer.ready):
                    m.next = "IDLE"
                    self._accept(m)
        self._walk(m, step, gives)
        return m

    def _accept(self, m):
        m.d.comb += self.command.ready.eq(1)
        with m.If(self.command.valid):
            m.d.sync += self._command.eq(self.command.payload)
            m.next = "LOOK"

    def _look(self, m):
        """By the slot's own lengths: the entries from `_index` to `_end` change hands."""
        lengths, command = self.edit.lengths, self._command
        whole = command.amount >> exact_log2(PAGE_TOKENS)
        begun = Signal(self._end.shape())  # pages, the last one perhaps in part
        m.d.comb += begun.eq(whole + command.amount[:exact_log2(PAGE_TOKENS)].any())
        m.d.sync += [
            self._lengths.eq(lengths), self._group.eq(0), self._index.eq(0), self._end.eq(command.amount),
            self._tenant.eq(self.edit.tenant), self._ok.eq(self.edit.open),
        ]
        with m.Switch(command.op):
            with m.Case(Op.OPEN):
                m.d.sync += [self._lengths.eq(0), self._ok.eq(~self.edit.open)]
            with m.Case(Op.FORK):
                m.d.sync += self._ok.eq(self.edit.open & (lengths.length == 0))
            with m.Case(Op.RESERVE):
                m.d.sync += [self._index.eq(lengths.length), self._end.eq(begun),
                             self._ok.eq(self.edit.open & (begun <= self.config.slot_pages))]
            with m.Case(Op.MISSING):
                m.d.sync += [self._index.eq(lengths.length), self._end.eq(begun)]
            with m.Case(Op.COMMIT):
                m.d.sync += [self._index.eq(lengths.full), self._end.eq(whole),
                             self._ok.eq(self.edit.open & (begun <= lengths.length))]
            with m.Case(Op.LEAVE):
                m.d.sync += [self._group.eq(command.group), self._index.eq(lengths.gone[command.group]),
                             self._end.eq(Mux(whole < lengths.full, whole, lengths.full))]
            with m.Case(Op.RELEASE):
                m.d.sync += [self._index.eq(lengths.gone[0]), self._end.eq(lengths.length)]
            with m.Default():
                m.d.sync += self._ok.eq(0)

    def _judge(self, m):
        """By the parent's lengths, and what the slot's own become: they are kept only if entries change hands."""
        command, parent = self._command, self.edit.lengths
        more = Signal(self._end.shape())
        m.d.comb += [self.edit.slot.eq(command.parent),
                     more.eq(Mux(self._end > self._index, self._end - self._index, 0))]
        m.d.sync += self._left.eq(more)
        with m.Switch(command.op):
            with m.Case(Op.FORK):
                kin = self.edit.open & (self.edit.tenant == self._tenant)
                whole = (command.amount == 0) | ~Cat(gone.any() for gone in parent.gone).any()
                m.d.sync += [
                    self._lengths.length.eq(self._end), self._lengths.full.eq(self._end),
                    self._left.eq(more << self._group_bits),
                    self._ok.eq(self._ok & kin & whole & (command.amount <= parent.full)),
                ]
            with m.Case(Op.RESERVE, Op.MISSING):
                m.d.sync += [self._lengths.length.eq(self._end), self._left.eq(more << self._group_bits)]
            with m.Case(Op.COMMIT):
                m.d.sync += self._lengths.full.eq(self._end)
            with m.Case(Op.LEAVE):
                m.d.sync += self._lengths.gone[command.group].eq(self._end)

    def _next_group(self, m):
        """RELEASE goes on with the entries that the next group still has."""
        group = self._group + 1
        gone = self._lengths.gone[group[:self._group_bits]]
        m.d.sync += [self._group.eq(group), self._index.eq(gone), self._left.eq(self._lengths.length - gone)]

    def _walk(self, m, step, gives):
        """An entry a cycle: its place, and in the next cycle its page, which changes hands and is entered."""
        edit, command = self.edit, self._command
        here, moved = Signal(place_layout(self.config)), Signal()
        there = Signal(place_layout(self.config), reset_less=True)
        m.d.comb += [
            here.slot.eq(command.slot), here.group.eq(self._group), here.index.eq(self._index),
            edit.place.eq(here),
        ]
        with m.If(command.op == Op.FORK):
            m.d.comb += edit.place.slot.eq(command.parent)
        m.d.sync += [moved.eq(step), there.eq(here)]
        # A register of its own, as an entry is late in its cycle.
        m.d.sync += [
            self.change.valid.eq(moved & (command.op != Op.RESERVE)),
            self.change.payload.page.eq(edit.page),
            self.change.payload.share.eq(command.op == Op.FORK),
        ]
        with m.If(step):
            # Index by index, in each group by group; or along a group.
            place = Cat(self._group, self._index)
            m.d.sync += [place.eq(place + Mux(gives, 1, self.config.cache_groups)), self._left.eq(self._left - 1)]
        m.d.comb += [
            self.taken.ready.eq(moved & (command.op == Op.RESERVE)),
            edit.enter.eq(moved & gives),
            edit.enter_place.eq(there),
            edit.enter_page.eq(Mux(command.op == Op.RESERVE, self.taken.payload, edit.page)),
        ]
        check(m, ~self.taken.ready | self.taken.valid, "KV operations: a page that was counted as free is there")
        check(m, ~self.change.valid | self.change.ready, "KV operations: a change never waits")
        check(m, ~edit.enter | ~edit.open | (there.index >= edit.lengths.length),
              "KV operations: an entry is appended, none is overwritten")
        check(m, ~moved | (command.op != Op.LEAVE) | (there.index < edit.lengths.full),
              "KV operations: a window gives back full pages")
