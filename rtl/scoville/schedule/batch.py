"""The batch controller: from the rings to passes of many sequences, and back."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from scoville.checks import check
from scoville.isa import POSITION_BITS
from scoville.kv.controller import KvController
from scoville.kv.layouts import page_layout, place_layout
from scoville.memory.fetch_arbiter import FetchArbiter
from scoville.memory.fetch_port import fetch_layout, response_layout
from scoville.memory.write_arbiter import WriteArbiter
from scoville.memory.writer import write_command_layout, write_data_layout
from scoville.schedule.doorbell import COUNT_BITS, ENTRIES_BITS
from scoville.schedule.harvest import Harvest
from scoville.schedule.intake import Intake
from scoville.schedule.kept import Kept
from scoville.schedule.outbox import Outbox
from scoville.schedule.planner import Planner
from scoville.schedule.seater import Seater
from scoville.schedule.seats import PassState, Sampling
from scoville.schedule.token_writer import TokenWriter

__all__ = ["BatchController", "batch_settings"]


def batch_settings(config):
    """The registers that the schedule knows, stable from `start` on."""
    return data.StructLayout({
        "submit_base": config.addr_bits, "submit_entries": ENTRIES_BITS,
        "complete_base": config.addr_bits, "complete_entries": ENTRIES_BITS,
        "running": range(config.slots + 1), "vocab": 32, "context": POSITION_BITS,
        "kv_pages": range(config.pool_pages + 1), "span": data.ArrayLayout(POSITION_BITS, config.cache_groups),
        "window_base": config.addr_bits, "window_limit": config.addr_bits})


class BatchController(wiring.Component):
    """Makes passes out of the requests of the submission ring, and completions out of what they give.

    ::

        memory ─► Intake ─► Planner ◄──────► KvController ◄─► pages of the core
                    │ fields │ runs ▲ tokens
                    ├──────► Seater │ ───────────────────────► state, sampling, begin
                    └──────────► Harvest ◄──────────────────── sampled
                             │ news └─► TokenWriter ─┐
                             ▼                       ▼
                          Outbox ──────────────► WriteArbiter ─► memory

    What it does from pass to pass is `scoville.schedule.model.Scheduler`. After a soft reset, a `ResetInserter` round
    it, all is as before the first start.

    Parameters
    ----------
    config : ChipConfig, of two slots at least

    Members
    -------
    settings : In(batch_settings)
    start : In(1), once after a reset; running : Out(1), from then on up to a halt
    halt : In(1), a fault: no pass begins, and no completion is written any more
    submit_strobe, submit_count, complete_strobe, complete_count : In, what the host writes to SUBMIT_TAIL and
        COMPLETE_HEAD; submit_head, complete_tail : Out, the registers of these names
    posted : Out(1), for one cycle: a completion is written; held : Out(1), the host has to go on: nothing is to be
        computed, read or written, or the completion ring is full
    read_error : Out(1), for one cycle: the ring's entry at `error_address` could not be read, `refused` by the window
    state : Out(PassState), sampling : Out(Sampling): of a pass, from `begin` to the next plan
    begin : Out(1), for one cycle; pass_done : In(1), for one cycle: it is computed
    sampled : In(stream), {token}, for each seat that samples, in order; before or after `pass_done`
    request, response : Out(stream), In(stream), short reads of the fetch port
    write_command, write_data : Out(stream), to the writer; writes_idle : In(1), every write has its response
    read, read_page, append, append_page, rest : of `KvController`
    """

    def __init__(self, config):
        self.config = config
        place, page = place_layout(config), page_layout(config)
        super().__init__({
            "settings": In(batch_settings(config)),
            "start": In(1), "running": Out(1), "halt": In(1),
            "submit_strobe": In(1), "submit_count": In(COUNT_BITS), "submit_head": Out(COUNT_BITS),
            "complete_strobe": In(1), "complete_count": In(COUNT_BITS), "complete_tail": Out(COUNT_BITS),
            "posted": Out(1), "held": Out(1),
            "read_error": Out(1), "refused": Out(1), "error_address": Out(config.addr_bits),
            "state": Out(PassState(config)), "sampling": Out(Sampling(config)),
            "begin": Out(1), "pass_done": In(1),
            "sampled": In(stream.Signature(data.StructLayout({"token": 32}))),
            "request": Out(stream.Signature(fetch_layout(config))),
            "response": In(stream.Signature(response_layout(config))),
            "write_command": Out(stream.Signature(write_command_layout(config))),
            "write_data": Out(stream.Signature(write_data_layout(config))),
            "writes_idle": In(1),
            "read": In(stream.Signature(place)), "read_page": Out(stream.Signature(page)),
            "append": In(stream.Signature(place)), "append_page": Out(stream.Signature(page)),
            "rest": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.intake = intake = Intake(self.config)
        m.submodules.planner = planner = Planner(self.config)
        m.submodules.kv = kv = KvController(self.config)
        m.submodules.seater = seater = Seater(self.config)
        m.submodules.harvest = harvest = Harvest(self.config)
        m.submodules.kept = kept = Kept(self.config)
        m.submodules.outbox = outbox = Outbox(self.config)
        m.submodules.token_writer = token_writer = TokenWriter(self.config)

        # Requests, runs, tokens, news.
        connect(m, intake.o, planner.request)
        connect(m, intake.overrun, outbox.overrun)
        connect(m, planner.run, seater.run)
        connect(m, seater.verdict, planner.verdict)
        connect(m, flipped(self.sampled), harvest.sampled)
        connect(m, harvest.o, planner.sampled)
        connect(m, harvest.token, token_writer.i)
        connect(m, planner.news, outbox.news)
        m.d.comb += [
            planner.running.eq(self.settings.running), planner.span.eq(self.settings.span),
            planner.more.eq(intake.more), planner.done.eq(self.pass_done), seater.again.eq(planner.again),
            outbox.passes.eq(planner.passes),
            harvest.begin.eq(self.begin), harvest.state.eq(seater.state), harvest.sampling.eq(seater.sampling),
            self.begin.eq(planner.begin & ~self.halt), self.state.eq(seater.state), self.sampling.eq(seater.sampling),
            seater.settled.eq(token_writer.settled), outbox.settled.eq(token_writer.settled),
        ]
        # What is known of a slot: while tokens come there is no run to be seated.
        m.d.comb += [
            intake.taken.eq(planner.taken), intake.slot.eq(planner.slot),
            kept.taken.eq(planner.taken), kept.taken_slot.eq(planner.slot),
            kept.keep.eq(harvest.keep), kept.kept_slot.eq(harvest.slot), kept.kept.eq(harvest.kept),
            intake.read_slot.eq(Mux(harvest.busy, harvest.slot, seater.slot)), kept.read_slot.eq(seater.slot),
            harvest.fields.eq(intake.fields), seater.fields.eq(intake.fields), seater.kept.eq(kept.o),
        ]
        check(m, ~(harvest.busy & planner.run.valid), "batch controller: a plan begins when all tokens are taken")

        self._pages(m, planner, kv)
        self._memory(m, (seater, harvest, intake), (token_writer, outbox))
        self._host(m, intake, planner, seater, outbox)
        return m

    def _pages(self, m, planner, kv):
        connect(m, planner.command, kv.command)
        connect(m, kv.answer, planner.answer)
        for name in ("read", "read_page", "append", "append_page"):
            connect(m, flipped(getattr(self, name)), getattr(kv, name))
        m.d.comb += [planner.free.eq(kv.free), kv.pages.eq(self.settings.kv_pages), kv.rest.eq(self.rest)]

    def _memory(self, m, readers, writers):
        m.submodules.reads = reads = FetchArbiter(self.config, clients=len(readers))
        m.submodules.writes = writes = WriteArbiter(self.config)
        for number, reader in enumerate(readers):
            connect(m, reader.request, reads.i[number])
            connect(m, reads.o[number], reader.response)
        for number, writer in enumerate(writers):
            connect(m, writer.write_command, getattr(writes, f"command{number}"))
            connect(m, writer.write_data, getattr(writes, f"data{number}"))
            m.d.comb += writer.written.eq(self.writes_idle)
        connect(m, reads.request, flipped(self.request))
        connect(m, flipped(self.response), reads.response)
        connect(m, writes.command, flipped(self.write_command))
        connect(m, writes.data, flipped(self.write_data))

    def _host(self, m, intake, planner, seater, outbox):
        """Settings, doorbells, and whether it runs."""
        settings, begun = self.settings, Signal()
        m.d.comb += [begun.eq(self.start & ~self.halt), outbox.halt.eq(self.halt), self.posted.eq(outbox.posted),
                     self.held.eq(outbox.held | planner.idle & outbox.empty & (intake.head == intake.tail))]
        with m.If(self.halt):
            m.d.sync += self.running.eq(0)
        with m.Elif(self.start):
            m.d.sync += self.running.eq(1)
        for ring, name in ((intake, "submit"), (outbox, "complete")):
            m.d.comb += [
                ring.start.eq(begun),
                ring.base.eq(getattr(settings, f"{name}_base")), ring.entries.eq(getattr(settings, f"{name}_entries")),
                ring.strobe.eq(getattr(self, f"{name}_strobe") & self.running),
                ring.count.eq(getattr(self, f"{name}_count")),
            ]
        m.d.comb += [
            *(getattr(intake.settings, name).eq(getattr(settings, name))
              for name in ("context", "vocab", "kv_pages", "window_base", "window_limit")),
            seater.vocab.eq(settings.vocab),
            # All that is there when a pass ends, or when nothing is to be computed, is taken before the next plan.
            intake.open.eq(self.pass_done | planner.idle),
            self.submit_head.eq(intake.head), self.complete_tail.eq(outbox.tail),
            self.read_error.eq(intake.error), self.refused.eq(intake.refused),
            self.error_address.eq(intake.error_address),
        ]
