"""The planner: the rule of a pass, docs/schedule.md, a step after the other."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from scoville.checks import check, check_stream
from scoville.config import PAGE_TOKENS
from scoville.isa import POSITION_BITS
from scoville.kv.layouts import Op, answer_layout, command_layout, page_count
from scoville.schedule.calls import Call
from scoville.schedule.choice import PRIORITY_BITS, Choice
from scoville.schedule.completion import news_layout
from scoville.schedule.judge import judged_layout
from scoville.schedule.order import Change, Order
from scoville.schedule.records import NO_SLOT, NONE, Error, Event, Flag, Kind, Reason

__all__ = ["Planner", "SlotState", "planned_layout", "sampled_layout"]

KNOWN_BITS = POSITION_BITS + 1
PAGE_SHIFT = exact_log2(PAGE_TOKENS)


class SlotState(enum.Enum, shape=2):
    """Of a slot; as `slots.State`."""

    FREE = 0
    WAITING = 1
    RUNNING = 2
    PARKED = 3


def _slot_layout():
    """What the planner keeps of a slot; what only others need of a request is with them."""
    return data.StructLayout({
        "state": SlotState, "known": KNOWN_BITS, "computed": KNOWN_BITS, "most": POSITION_BITS, "lengthy": 1, "park": 1,
        "id": 32, "tenant": 32, "parent": 32, "shared": POSITION_BITS})


def planned_layout(config):
    """A run: `count` tokens of a slot from `first` on, for the seats from `seat` on; whether it samples."""
    return data.StructLayout({"slot": exact_log2(config.slots), "first": POSITION_BITS,
                              "count": range(config.seats + 1), "seat": range(config.seats), "samples": 1})


def sampled_layout():
    """A run's token; whether it is in the stop list, or the list could not be read."""
    return data.StructLayout({"token": 32, "stop": 1, "failed": 1})


class Planner(wiring.Component):
    """Takes requests, plans passes and says what came of them, as `model.Scheduler` does.

    Between two passes: what the pass gave, then requests, then the plan.

    Parameters
    ----------
    config : ChipConfig, of two slots at least

    Members
    -------
    running : In, sequences that may run at a time
    span : In(array), tokens that the layers of each cache group look back on, themselves counted; 0 for all
    more : In(1), requests are to be taken that were there before the plan
    request : In(stream(judged_layout))
    taken : Out(1), the request that goes has got slot `slot`
    command, answer, free : of the KV-cache controller
    run : Out(stream(planned_layout)); verdict : In(stream(8)), for each: 0, or the `Error` of its tokens
    again : Out(1), for one cycle: the runs so far are void
    begin : Out(1), for one cycle: the pass is as planned; done : In(1), for one cycle: it is computed
    idle : Out(1), nothing is to be computed
    sampled : In(stream(sampled_layout)), for each run that samples, in order, behind `done`
    news : Out(stream(news_layout)), completions
    passes : Out(32), completed
    """

    def __init__(self, config):
        if config.slots < 2:
            raise ValueError("one slot needs no planner")
        self.config = config
        super().__init__({
            "running": In(range(config.slots + 1)),
            "span": In(data.ArrayLayout(POSITION_BITS, config.cache_groups)),
            "more": In(1), "request": In(stream.Signature(judged_layout())),
            "taken": Out(1), "slot": Out(exact_log2(config.slots)),
            "command": Out(stream.Signature(command_layout(config))),
            "answer": In(stream.Signature(answer_layout(config))), "free": In(page_count(config)),
            "run": Out(stream.Signature(planned_layout(config))), "verdict": In(stream.Signature(8)), "again": Out(1),
            "begin": Out(1), "done": In(1), "idle": Out(1),
            "sampled": In(stream.Signature(sampled_layout())),
            "news": Out(stream.Signature(news_layout())), "passes": Out(32),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        number, seat_bits = exact_log2(config.slots), max(1, exact_log2(config.seats))
        slots = Signal(data.ArrayLayout(_slot_layout(), config.slots))
        priority = Signal(data.ArrayLayout(PRIORITY_BITS, config.slots))
        m.submodules.turns = turns = Order(config)  # that run, who has waited longest for a seat first
        m.submodules.parked = parked = Order(config)  # least recently used first
        m.submodules.age = age = Order(config)  # all, in the order of taking
        m.submodules.choice = choice = Choice(config)
        m.d.comb += [choice.slots.eq(age.slots), choice.count.eq(age.count), choice.priority.eq(priority)]

        # The slot in hand, another one, and a walk over slots or seats.
        slot, other, at = Signal(number), Signal(number), Signal(range(max(config.slots, config.seats) + 1))
        mine, its = slots[slot], slots[other]
        for order in (turns, parked, age):
            m.d.comb += order.slot.eq(slot)
        left = [(each.known - each.computed)[:KNOWN_BITS] for each in slots]
        runs = Cat(each.state == SlotState.RUNNING for each in slots)
        waits = Cat(each.state == SlotState.WAITING for each in slots)
        prompts = Signal(config.slots)  # of those that run, who has more than a token left
        mine_left = Signal(KNOWN_BITS)
        m.d.comb += [prompts.eq(Cat((each.state == SlotState.RUNNING) & (rest > 1)
                                    for each, rest in zip(slots, left, strict=True))),
                     mine_left.eq(mine.known - mine.computed)]

        # The plan: slots in the order of their seats, and how many each has.
        seated = Signal(data.ArrayLayout(number, config.seats))
        counts = Signal(data.ArrayLayout(range(config.seats + 1), config.slots))
        planned, spare, seat = (Signal(range(config.seats + 1), name=name) for name in ("planned", "spare", "seat"))
        first_prompt, prompted = Signal(number), Signal()
        gave_way, seen = Signal(), Signal(config.slots)  # slots that need not be looked at again
        family, kin = Signal(number), Signal()
        taking = Signal()  # who looks for a parent: a request, or else the slot in hand
        same, free, vacant = Signal(), Signal(number), Signal()
        target = Signal(POSITION_BITS - PAGE_SHIFT)
        hope = Signal(range(2 * config.pool_pages + 1))
        more = Signal(range(config.seats + 1))
        m.d.comb += more.eq(Mux(mine_left - counts[slot] < spare, mine_left - counts[slot], spare))

        def give(count):
            """Seats for the slot in hand."""
            m.d.sync += [counts[slot].eq(counts[slot] + count), spare.eq(spare - count)]
            with m.If(counts[slot] == 0):
                m.d.sync += [seated[planned[:seat_bits]].eq(slot), planned.eq(planned + 1)]

        report, close, evict, kv, choose, find = (Call(m, name) for name in (
            "REPORT", "CLOSE", "EVICT", "KV", "CHOOSE", "FIND"))
        news, command, entry = self.news.p, self.command.p, self.request.p
        ok, pages = Signal(), Signal.like(self.answer.p.pages)

        def tell(event, then, *, code=0, token=NONE):
            """Report something about the slot in hand."""
            m.d.sync += [news.id.eq(mine.id), news.event.eq(event), news.code.eq(code), news.slot.eq(slot),
                         news.token.eq(token), news.position.eq(mine.known)]
            report(then)

        def ask(op, then, amount=0, group=0):
            """A command for the slot in hand."""
            m.d.sync += [command.op.eq(op), command.slot.eq(slot), command.parent.eq(other), command.group.eq(group),
                         command.tenant.eq(mine.tenant), command.amount.eq(amount)]
            kv(then)

        leaves = Signal(config.cache_groups)  # whose windows have passed a page

        def window(computed, span):
            """The first token that is still looked back on."""
            return Mux((span != 0) & (computed >= span), computed - span + 1, 0)[:KNOWN_BITS]

        def best(among, then, last=0):
            m.d.sync += [choice.among.eq(among), choice.last.eq(last)]
            choose(then)

        with m.FSM() as fsm:
            # --- between two passes: requests
            with m.State("TAKE"):
                with m.If(self.request.valid):
                    m.d.sync += taking.eq(1)
                    find("TAKEN")
                with m.Elif(~self.more):
                    m.d.sync += gave_way.eq(0)
                    m.next = "DEAL"
            with m.State("TAKEN"):
                m.d.sync += slot.eq(other)  # that of the same id, if there is one
                with m.If(entry.kind == Kind.CANCEL):
                    m.next = "CANCEL"
                    with m.If(~same):
                        m.next = "CONSUMED"
                with m.Else():
                    error = Signal(8)
                    m.d.comb += error.eq(Mux(vacant | (parked.count != 0), 0, Error.FULL))
                    with m.If((entry.parent != NONE) & ~kin):
                        m.d.comb += error.eq(Error.PARENT)
                    with m.If(entry.error != 0):
                        m.d.comb += error.eq(entry.error)
                    with m.If((entry.error != Error.KIND) & (same | (entry.id == NONE))):
                        m.d.comb += error.eq(Error.ID)
                    m.d.sync += [news.id.eq(entry.id), news.event.eq(Event.ERROR), news.code.eq(error),
                                 news.slot.eq(NO_SLOT), news.token.eq(NONE), news.position.eq(0)]
                    with m.If(error != 0):
                        report("CONSUMED")
                    with m.Else():
                        m.d.sync += slot.eq(family)
                        m.next = "USE"
            with m.State("CANCEL"):
                with m.If(mine.state == SlotState.PARKED):
                    evict("CONSUMED")
                with m.Else():
                    tell(Event.FINISHED, "CANCELLED", code=Reason.CANCELLED)
            with m.State("CANCELLED"):
                close("CONSUMED")
            with m.State("USE"):  # the parent, if it is parked, is useful
                with m.If(kin & parked.member.bit_select(slot, 1)):
                    m.d.comb += parked.change.eq(Change.RENEW)
                m.d.sync += slot.eq(free)
                m.next = "VACATE"
            with m.State("VACATE"):
                m.next = "ENTER"
                with m.If(~vacant):
                    m.d.sync += slot.eq(parked.slots[0])
                    evict("ENTER")
            with m.State("ENTER"):
                m.d.comb += [age.change.eq(Change.ADD), self.taken.eq(1)]
                m.d.sync += [
                    priority[slot].eq(entry.priority), mine.state.eq(SlotState.WAITING), mine.known.eq(entry.prompt),
                    mine.computed.eq(0), mine.park.eq((entry.flags & int(Flag.PARK)) != 0),
                    *(getattr(mine, name).eq(getattr(entry, name))
                      for name in ("most", "lengthy", "id", "tenant", "parent", "shared"))]
                m.next = "CONSUMED"
            with m.State("CONSUMED"):
                m.d.comb += self.request.ready.eq(1)
                m.next = "TAKE"

            # --- 1, 2: turns, and a page for each
            with m.State("DEAL"):
                m.d.comb += self.again.eq(1)
                m.d.sync += [planned.eq(0), spare.eq(config.seats), counts.eq(0), seen.eq(0), at.eq(0)]
                best(prompts, "TURNS")
            with m.State("TURNS"):
                m.d.sync += [first_prompt.eq(choice.slot), prompted.eq(choice.found)]
                m.next = "TURN"
            with m.State("TURN"):
                m.d.sync += slot.eq(turns.slots[at[:number]])
                m.next = "GROW"
                with m.If((at == turns.count) | (spare == 0)):
                    m.next = "PROMPTS"
            with m.State("GROW"):
                m.d.sync += at.eq(at + 1)
                m.next = "TURN"
                with m.If((mine_left == 1) | prompted & (slot == first_prompt)):
                    with m.If(mine.computed[:PAGE_SHIFT] == 0):  # else its page is there
                        m.d.sync += at.eq(at)
                        ask(Op.RESERVE, "GROWN", mine.computed + 1)
                    with m.Else():
                        give(1)
            with m.State("GROWN"):
                with m.If(ok):
                    give(1)
                    m.d.sync += at.eq(at + 1)
                    m.next = "TURN"
                with m.Elif(parked.count != 0):
                    m.d.sync += slot.eq(parked.slots[0])
                    evict("TURN")
                with m.Else():
                    best(runs, "PREEMPT", last=1)
            with m.State("PREEMPT"):
                m.d.sync += [slot.eq(choice.slot), gave_way.eq(1)]
                m.next = "PREEMPTED"
            with m.State("PREEMPTED"):
                m.d.comb += turns.change.eq(Change.DROP)
                m.d.sync += [mine.state.eq(SlotState.WAITING), mine.computed.eq(0)]
                ask(Op.RELEASE, "GONE")
            with m.State("GONE"):
                tell(Event.PREEMPTED, "DEAL")

            # --- 3: seats that are left
            with m.State("PROMPTS"):
                m.next = "ADMISSION"
                with m.If(spare != 0):
                    best(prompts & ~seen, "PROMPT")
            with m.State("PROMPT"):
                m.d.sync += slot.eq(choice.slot)
                m.next = "CHUNK"
                with m.If(~choice.found):
                    m.next = "ADMISSION"
            with m.State("CHUNK"):
                give(more)
                m.d.sync += seen.bit_select(slot, 1).eq(1)
                m.next = "PROMPTS"

            # --- 4: admission
            with m.State("ADMISSION"):
                m.d.sync += seen.eq(0)
                m.next = "EMIT"
                with m.If(~gave_way):
                    m.next = "ADMIT"
            with m.State("ADMIT"):
                m.next = "EMIT"
                with m.If(turns.count != self.running):
                    best(waits & ~seen, "CANDIDATE")
            with m.State("CANDIDATE"):
                m.d.sync += [slot.eq(choice.slot), taking.eq(0)]
                m.next = "EMIT"
                with m.If(choice.found):
                    find("KIN")
            with m.State("KIN"):
                shared = Signal(POSITION_BITS)
                m.d.comb += shared.eq(Mux(mine.shared < mine.known - 1, mine.shared, mine.known - 1))
                m.d.sync += [target.eq(shared >> PAGE_SHIFT), other.eq(family)]
                best((1 << slot) | (1 << family), "WORTH")  # who is before whom
            with m.State("WORTH"):
                with m.If(kin & (its.state == SlotState.RUNNING) & (choice.slot == other)
                          & prompts.bit_select(other, 1) & (its.computed < (target << PAGE_SHIFT))):
                    m.d.sync += seen.bit_select(slot, 1).eq(1)
                    m.next = "ADMIT"
                with m.Else():
                    ask(Op.OPEN, "OPENED")
            with m.State("OPENED"):
                full = Signal.like(target)
                m.d.comb += full.eq(Mux(target < its.computed >> PAGE_SHIFT, target, its.computed >> PAGE_SHIFT))
                m.d.sync += [target.eq(full), at.eq(0), hope.eq(0)]
                m.next = "HOPE"
                with m.If(kin & (full != 0)):
                    ask(Op.FORK, "FORKED", full)
            with m.State("FORKED"):
                m.next = "HOPE"
                with m.If(ok):
                    m.d.sync += mine.computed.eq(target << PAGE_SHIFT)
                    m.next = "SHARED"
            with m.State("SHARED"):
                m.d.sync += [slot.eq(other), other.eq(slot)]
                m.next = "RENEW"
            with m.State("RENEW"):
                with m.If(parked.member.bit_select(slot, 1)):
                    m.d.comb += parked.change.eq(Change.RENEW)
                m.d.sync += [slot.eq(other), other.eq(slot)]
                m.next = "HOPE"
            with m.State("HOPE"):  # pages that there are, and that parked slots have
                m.d.sync += [other.eq(parked.slots[at[:number]]), at.eq(at + 1)]
                m.next = "HOPING"
                with m.If(at == parked.count):
                    m.d.sync += hope.eq(hope + self.free)
                    m.next = "NEED"
            with m.State("HOPING"):
                begun = ((its.computed + (PAGE_TOKENS - 1)) >> PAGE_SHIFT) << exact_log2(config.cache_groups)
                m.d.sync += hope.eq(Mux(hope + begun > config.pool_pages, config.pool_pages, hope + begun))
                m.next = "HOPE"
            with m.State("NEED"):
                ask(Op.RESERVE, "NEEDED", mine.known)
            with m.State("NEEDED"):
                m.d.sync += other.eq(slot)
                with m.If(ok):
                    m.next = "ADMITTED"
                with m.Elif((pages > hope) | (parked.count == 0)):
                    m.d.sync += mine.computed.eq(0)
                    ask(Op.RELEASE, "EMIT")
                with m.Else():
                    m.d.sync += slot.eq(parked.slots[0])
                    evict("AGAIN")
            with m.State("AGAIN"):
                m.d.sync += slot.eq(other)
                m.next = "NEED"
            with m.State("ADMITTED"):
                m.d.comb += turns.change.eq(Change.ADD)
                m.d.sync += mine.state.eq(SlotState.RUNNING)
                with m.If(more != 0):
                    give(more)
                m.next = "ADMIT"

            # --- 5, 6: tokens, and the order of the next turns
            with m.State("EMIT"):
                m.d.sync += [at.eq(0), seat.eq(0)]
                m.next = "IDLE"
                with m.If(planned != 0):
                    m.next = "NEXT"
            with m.State("IDLE"):  # nothing is to be computed, unless all that ran failed when one had given way
                m.d.comb += self.idle.eq(1)
                with m.If(self.request.valid | self.more | gave_way):
                    m.next = "TAKE"
            with m.State("NEXT"):
                m.d.sync += slot.eq(seated[at[:seat_bits]])
                m.next = "RUN"
                with m.If(at == planned):
                    m.d.sync += at.eq(0)
                    m.next = "ORDER"
            with m.State("RUN"):
                m.d.comb += self.run.valid.eq(1)
                with m.If(self.run.ready):
                    m.next = "VERDICT"
            with m.State("VERDICT"):
                m.d.comb += self.verdict.ready.eq(1)
                with m.If(self.verdict.valid):
                    m.d.sync += [at.eq(at + 1), seat.eq(seat + counts[slot])]
                    m.next = "NEXT"
                    with m.If(self.verdict.payload != 0):
                        tell(Event.ERROR, "FAILED", code=self.verdict.payload)
            with m.State("FAILED"):
                close("DEAL")
            with m.State("ORDER"):
                m.d.sync += slot.eq(seated[at[:seat_bits]])
                m.next = "BEHIND"
                with m.If(at == planned):
                    m.d.comb += self.begin.eq(1)
                    m.next = "PASS"
            with m.State("BEHIND"):
                m.d.comb += turns.change.eq(Change.RENEW)
                m.d.sync += at.eq(at + 1)
                m.next = "ORDER"
            with m.State("PASS"):
                m.d.sync += at.eq(0)
                with m.If(self.done):
                    m.d.sync += self.passes.eq(self.passes + 1)
                    m.next = "COMPLETE"

            # --- what the pass gave
            with m.State("COMPLETE"):
                m.d.sync += [slot.eq(seated[at[:seat_bits]]), at.eq(at + 1)]
                m.next = "COMMIT"
                with m.If(at == planned):
                    m.next = "TAKE"
            with m.State("COMMIT"):
                behind = Signal(KNOWN_BITS)
                m.d.comb += behind.eq(mine.computed + counts[slot])
                m.d.sync += [mine.computed.eq(behind), leaves.eq(Cat(
                    window(behind, span) >> PAGE_SHIFT != window(mine.computed, span) >> PAGE_SHIFT
                    for span in self.span))]
                m.next = "RESULT"
                with m.If(behind >> PAGE_SHIFT != mine.computed >> PAGE_SHIFT):  # a page is full
                    ask(Op.COMMIT, "RESULT", behind)
            with m.State("RESULT"):
                m.next = "COMPLETE"
                with m.If(leaves.any()):
                    m.next = "LEAVE"
                with m.Elif(mine_left == 0):
                    m.next = "SAMPLED"
            with m.State("LEAVE"):  # the first group whose window has passed a page
                for group, span in reversed(list(enumerate(self.span))):
                    with m.If(leaves[group]):
                        m.d.sync += leaves.eq(leaves & (leaves - 1))
                        ask(Op.LEAVE, "RESULT", window(mine.computed, span), group)
            with m.State("SAMPLED"), m.If(self.sampled.valid):
                m.d.sync += mine.known.eq(mine.known + ~self.sampled.p.failed)
                m.next = "JUDGED"
            with m.State("JUDGED"):
                sampled = self.sampled.p
                long = mine.known > mine.most
                m.d.comb += self.sampled.ready.eq(1)
                with m.If(sampled.failed):
                    tell(Event.ERROR, "ENDED", code=Error.READ)
                with m.Elif(sampled.stop | long):
                    tell(Event.FINISHED, "FINISHED", token=sampled.token, code=Mux(
                        sampled.stop, Reason.STOP, Mux(mine.lengthy, Reason.LENGTH, Reason.CONTEXT)))
                with m.Else():
                    tell(Event.TOKEN, "COMPLETE", token=sampled.token)
            with m.State("FINISHED"):
                m.next = "ENDED"
                with m.If(mine.park):
                    m.d.comb += [turns.change.eq(Change.DROP), parked.change.eq(Change.ADD)]
                    m.d.sync += mine.state.eq(SlotState.PARKED)
                    m.next = "COMPLETE"
            with m.State("ENDED"):
                close("COMPLETE")

            # --- what several of them do
            with m.State("EVICT"):
                tell(Event.EVICTED, "EVICTED")
            with m.State("EVICTED"):
                close("EVICTION")
            with m.State("EVICTION"):
                evict.back()
            with m.State("CLOSE"):
                for order in (turns, parked, age):
                    with m.If(order.member.bit_select(slot, 1)):
                        m.d.comb += order.change.eq(Change.DROP)
                m.d.sync += mine.state.eq(SlotState.FREE)
                ask(Op.RELEASE, "CLOSED")
            with m.State("CLOSED"):
                close.back()
            with m.State("FIND"):  # in all slots: the request's id, its parent, and a free one
                m.d.sync += [at.eq(0), same.eq(0), kin.eq(0), vacant.eq(0)]
                m.next = "FINDING"
            with m.State("FINDING"):
                here = slots[at[:number]]
                there = here.state != SlotState.FREE
                m.d.sync += at.eq(at + 1)
                wanted, tenant = Mux(taking, entry.parent, mine.parent), Mux(taking, entry.tenant, mine.tenant)
                with m.If(~there & ~vacant):
                    m.d.sync += [vacant.eq(1), free.eq(at)]
                with m.If(taking & there & (here.id == entry.id)):
                    m.d.sync += [same.eq(1), other.eq(at)]
                with m.If(there & (here.id == wanted) & (here.tenant == tenant)):
                    m.d.sync += [kin.eq(1), family.eq(at)]
                with m.If(at == config.slots - 1):
                    m.next = "FOUND"
            with m.State("FOUND"):
                find.back()
            with m.State("REPORT"):
                m.d.comb += self.news.valid.eq(1)
                with m.If(self.news.ready):
                    report.back()
            with m.State("KV"):
                m.d.comb += self.command.valid.eq(1)
                with m.If(self.command.ready):
                    m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += self.answer.ready.eq(1)
                with m.If(self.answer.valid):
                    m.d.sync += [ok.eq(self.answer.p.ok), pages.eq(self.answer.p.pages)]
                    m.next = "ANSWERED"
            with m.State("ANSWERED"):
                kv.back()
            with m.State("CHOOSE"):
                m.d.comb += choice.start.eq(1)
                m.next = "CHOOSING"
            with m.State("CHOOSING"), m.If(choice.done):
                choose.back()

        m.d.comb += [
            self.slot.eq(slot),
            self.run.p.slot.eq(slot), self.run.p.first.eq(mine.computed), self.run.p.count.eq(counts[slot]),
            self.run.p.seat.eq(seat), self.run.p.samples.eq(mine_left == counts[slot]),
        ]
        for name in ("command", "run", "news"):
            check_stream(m, getattr(self, name), f"planner: {name}")
        check(m, ~self.done | fsm.ongoing("PASS"), "planner: a pass that ends has begun")
        check(m, turns.count <= self.running, "planner: no more run than may")
        check(m, ~(turns.member & parked.member).any(), "planner: who is parked does not run")
        return m
