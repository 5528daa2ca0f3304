"""The page tables of all slots, and their lengths: what is stored, and who may read and write it."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from scoville.kv.layouts import TENANT_BITS, lengths_layout, page_shape, place_layout

__all__ = ["Tables", "edit_signature", "look_signature"]


def look_signature(config):
    """How the translation looks into the tables: a place's page in the next cycle, a slot's lengths in the same."""
    return wiring.Signature({
        "place": Out(place_layout(config)), "page": In(page_shape(config)),
        "slot": Out(exact_log2(config.slots)), "lengths": In(lengths_layout(config)), "open": In(1),
    })


def edit_signature(config):
    """The same for the operations, which also write: an entry (`enter`), the lengths of `slot` (`keep`); `slot` is open
    and a tenant's from the next cycle on (`begin`), or closed (`end`)."""
    return wiring.Signature({
        "place": Out(place_layout(config)), "page": In(page_shape(config)),
        "slot": Out(exact_log2(config.slots)), "lengths": In(lengths_layout(config)), "open": In(1),
        "tenant": In(TENANT_BITS),
        "enter": Out(1), "enter_place": Out(place_layout(config)), "enter_page": Out(page_shape(config)),
        "keep": Out(1), "keep_lengths": Out(lengths_layout(config)),
        "begin": Out(1), "begin_tenant": Out(TENANT_BITS),
        "end": Out(1),
    })


class Tables(wiring.Component):
    """Entries (place → page), and a slot's lengths, tenant, and whether it is open.

    Two readers, which never wait for each other, and one writer. After a reset all slots are closed, and what the
    memories hold means nothing: a slot's lengths are written when it is opened, an entry before a length covers it.

    What is written is seen from the next cycle on; an entry that is read in the cycle in which it is written is the one
    before.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    look : In(`look_signature`); edit : In(`edit_signature`)
    some_open : Out(1), a slot is open
    """

    def __init__(self, config):
        self.config = config
        super().__init__({"look": In(look_signature(config)), "edit": In(edit_signature(config)),
                          "some_open": Out(1)})

    def elaborate(self, platform):
        m = Module()
        config, look, edit = self.config, self.look, self.edit
        m.submodules.entries = entries = Memory(
            shape=page_shape(config), depth=config.slots * config.cache_groups * config.slot_pages, init=[])
        enter = entries.write_port()
        m.d.comb += [enter.addr.eq(edit.enter_place), enter.data.eq(edit.enter_page), enter.en.eq(edit.enter)]
        is_open = Signal(config.slots)
        m.d.comb += self.some_open.eq(is_open.any())
        with m.If(edit.begin | edit.end):
            m.d.sync += is_open.bit_select(edit.slot, 1).eq(edit.begin)
        for user in (look, edit):
            entry = entries.read_port()
            m.d.comb += [entry.addr.eq(user.place), user.page.eq(entry.data),
                         user.open.eq(is_open.bit_select(user.slot, 1))]
        if config.slots == 1:
            lengths = Signal(lengths_layout(config), reset_less=True)
            m.d.comb += [look.lengths.eq(lengths), edit.lengths.eq(lengths)]
            with m.If(edit.keep):
                m.d.sync += lengths.eq(edit.keep_lengths)
        else:
            self._few_words(m, "lengths", lengths_layout(config), edit.keep, edit.keep_lengths,
                            [(look.slot, look.lengths), (edit.slot, edit.lengths)])
            self._few_words(m, "tenants", TENANT_BITS, edit.begin, edit.begin_tenant, [(edit.slot, edit.tenant)])
        return m

    def _few_words(self, m, name, shape, write, word, reads):
        """A memory with a word a slot: so few that they are read without a clock."""
        m.submodules[name] = memory = Memory(shape=shape, depth=self.config.slots, init=[])
        port = memory.write_port()
        m.d.comb += [port.addr.eq(self.edit.slot), port.data.eq(word), port.en.eq(write)]
        for slot, found in reads:
            read = memory.read_port(domain="comb")
            m.d.comb += [read.addr.eq(slot), found.eq(read.data)]
