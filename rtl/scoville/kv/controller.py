"""The KV-cache controller: pool, tables, operations and translation, joined."""

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from scoville.kv.layouts import answer_layout, command_layout, page_count, page_layout, place_layout
from scoville.kv.operations import Operations
from scoville.kv.pool import Pool
from scoville.kv.tables import Tables
from scoville.kv.translation import Translation

__all__ = ["KvController"]


class KvController(wiring.Component):
    """Which page holds which tokens of which slot.

    ::

        command ──► Operations ──────────────► Pool      free pages, owners of each
        answer  ◄──  │      ▲ used             ▲ taken, change
                     └──────┼──────────────────┘
                     edit   │
                     ▼      │
                    Tables ◄── Translation ◄── read, append        a place of a slot's table
                                           ──► read_page, append_page

    It does what `scoville.kv.model.KvModel` does. Only `Operations` writes tables and counts, and only of the slot that
    a command names; no address and no page number comes in. A translation takes two cycles, whatever else is done.
    Cycles of the operations: `Operations`.

    After a reset, soft or not, all slots are closed and, a cycle later, all pages are free: no memory is walked.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    pages : In, pages in memory, at most `pool_pages`; looked at, behind a reset, while no slot has ever been open
    command, answer : as those of `Operations`
    read, read_page, append, append_page, rest : as those of `Translation`
    free : Out, pages that nobody has, right whenever an answer is there
    """

    def __init__(self, config):
        self.config = config
        place, page = place_layout(config), page_layout(config)
        super().__init__({
            "pages": In(page_count(config)),
            "command": In(stream.Signature(command_layout(config))),
            "answer": Out(stream.Signature(answer_layout(config))),
            "read": In(stream.Signature(place)), "read_page": Out(stream.Signature(page)),
            "append": In(stream.Signature(place)), "append_page": Out(stream.Signature(page)),
            "rest": In(1),
            "free": Out(page_count(config)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.pool = pool = Pool(self.config)
        m.submodules.tables = tables = Tables(self.config)
        m.submodules.operations = operations = Operations(self.config)
        m.submodules.translation = translation = Translation(self.config)
        for name in ("command", "answer"):
            connect(m, flipped(getattr(self, name)), getattr(operations, name))
        for name in ("read", "read_page", "append", "append_page"):
            connect(m, flipped(getattr(self, name)), getattr(translation, name))
        connect(m, operations.edit, tables.edit)
        connect(m, operations.taken, pool.taken)
        connect(m, operations.change, pool.change)
        connect(m, translation.look, tables.look)
        m.d.comb += [
            pool.pages.eq(self.pages),
            pool.hold.eq(tables.some_open),
            operations.free.eq(pool.free),
            operations.used.eq(translation.used),
            translation.rest.eq(self.rest),
            self.free.eq(pool.free),
        ]
        return m
