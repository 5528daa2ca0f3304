"""The checker: every instruction is judged here, before anything acts on it."""

from types import SimpleNamespace

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from scoville.checks import check, check_stream
from scoville.control import rules
from scoville.control.instruction_fetch import instruction_layout
from scoville.control.legality import CONTEXT, Tag, after, reads, writes
from scoville.control.rules import RULES
from scoville.isa import FIELDS, INSTRUCTION_BYTES, PAGE_SIZE_BITS, Opcode, field
from scoville.naming import unnamed
from scoville.registers import Status
from scoville.schedule.seats import PassState

__all__ = ["Checker", "checked_layout"]

VERDICTS = (Status.OK, Status.ILLEGAL_INSTRUCTION, Status.CONTEXT, Status.TOKEN)


def checked_layout(config):
    """An instruction, where it came from, and `Status`: OK if it may be carried out."""
    return data.StructLayout({"word": 8 * INSTRUCTION_BYTES, "address": config.addr_bits, "status": 8})


class Checker(wiring.Component):
    """Judges instructions by the rules of `legality`, and drops those that the pass skips.

    Sums are registers, products are made a bit of their first factor a cycle, and what lies in the operand blocks is
    in a memory, which is read and written a block a cycle, and wiped behind an END, while the pass goes on elsewhere.
    So an instruction takes 3 cycles, all but LOAD and END some more; all the while the front end is at work
    on the one before. An instruction that is refused is the last.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    start : In(1), begin a pass; `state` : In(PassState), stable during the pass
    page_bytes : In, the register KV_PAGE_BYTES
    i : In(stream(instruction_layout))
    o : Out(stream(checked_layout))
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "start": In(1),
            "state": In(PassState(config)),
            "page_bytes": In(PAGE_SIZE_BITS),
            "i": In(stream.Signature(instruction_layout(config))),
            "o": Out(stream.Signature(checked_layout(config))),
        })

    def elaborate(self, platform):
        m = Module()
        config, state = self.config, self.state

        word = Signal(8 * INSTRUCTION_BYTES, reset_less=True)
        origin = Signal(config.addr_bits, reset_less=True)
        opcode = field(word, Opcode.END, "opcode")
        context = {name: Signal(width, name=name) for name, width in CONTEXT.items()}
        x = SimpleNamespace(**context)

        # What follows from the fields and the pass, all of it registers.
        last = Signal(reset_less=True)
        rows_inside, sources_written = Signal(), Signal()
        m.d.sync += last.eq(state.last)
        terms, steps = rules.terms(config), rules.products(config)
        names = {kind: {name: Signal(width, name=name, reset_less=True) for name, (width, _) in sums.items()}
                 for kind, sums in terms.items()}
        products = {}
        for each in steps.values():
            for name, _, _, width in each:
                products.setdefault(name, Signal(width, name=name, reset_less=True))
        facts = {}
        for kind, fields in FIELDS.items():
            facts[kind] = f = SimpleNamespace(
                **{name: field(word, kind, name) for name in fields}, page_bytes=self.page_bytes,
                last=last, rows_inside=rows_inside, sources_written=sources_written,
                **names.get(kind, {}), **products)
            m.d.sync += [names[kind][name].eq(term(config, f)) for name, (_, term) in terms.get(kind, {}).items()]

        # The rules: whether an instruction breaks one is a register; the verdict is the first status of those broken.
        skipped, known = Signal(), Signal(reset_less=True)
        m.d.sync += known.eq(Cat(opcode == kind for kind in Opcode).any())
        broken = {status: [] for status in VERDICTS[1:]}
        broken[Status.ILLEGAL_INSTRUCTION].append(~known)
        for number, rule in enumerate(RULES):
            wrong = Signal(name=f"rule{number}", reset_less=True)
            m.d.sync += wrong.eq(0)
            broken[rule.status].append(wrong)
            with m.Switch(opcode):
                for kind in rule.opcodes:
                    with m.Case(kind):
                        holds = rule.holds(config, facts[kind], x)
                        assert len(holds) == 1
                        m.d.sync += wrong.eq(~holds if rule.always else ~holds & ~skipped)
        m.d.comb += skipped.eq(field(word, Opcode.END, "only_last") & ~last)

        # The context behind the instruction, once it is settled.
        behind = {name: Signal(width, name=f"{name}_behind", reset_less=True) for name, width in CONTEXT.items()}
        m.d.sync += [signal.eq(context[name]) for name, signal in behind.items()]
        with m.Switch(opcode):
            for kind in Opcode:
                with m.Case(kind):
                    m.d.sync += [behind[name].eq(value) for name, value in after(config, kind, facts[kind], x).items()]

        # A product: the first factor's bits one by one, the other doubled.
        factor, doubled, total = unnamed(Signal(24), Signal(44, reset_less=True), Signal(44, reset_less=True))
        step = Signal(range(max(len(each) for each in steps.values())))

        # What is in the operand blocks.
        m.submodules.tags = tags = Memory(shape=2, depth=config.operand_blocks, init=[],
                                          attrs={"ram_style": "distributed"})
        tag_write, tag_read = tags.write_port(), tags.read_port(domain="comb")
        block, tag = unnamed(Signal(range(config.operand_blocks + 1)), Signal(2))
        left = Signal(len(products["head_rows"]))
        more = Signal()
        m.d.comb += [
            tag_read.addr.eq(block), tag_write.addr.eq(block), tag_write.data.eq(tag),
            more.eq((left != 0) & (block < config.operand_blocks)),
        ]

        def walk(place):
            first, count, tagged = place
            return [block.eq(first), left.eq(count), tag.eq(tagged)]

        seat = Signal(range(config.seats + 1))
        row = Signal(32, reset_less=True)  # of the seat before
        begun = Signal()  # a pass, before the wiping was over
        with m.If(self.start):
            m.d.sync += begun.eq(1)

        refused = Signal()
        m.d.comb += [
            self.o.p.word.eq(word), self.o.p.address.eq(origin), self.o.p.status.eq(Status.OK),
            refused.eq(self.o.p.status != Status.OK),
        ]
        for status in reversed(VERDICTS[1:]):
            with m.If(Cat(broken[status]).any()):
                m.d.comb += self.o.p.status.eq(status)

        with m.FSM(init="wipe") as fsm:
            with m.State("wipe"):  # nothing of a pass is seen in the next
                m.d.comb += tag_write.en.eq(1)
                m.d.sync += block.eq(block + 1)
                with m.If(block == config.operand_blocks - 1):
                    m.next = "idle"
            with m.State("idle"):
                m.d.sync += [signal.eq(0) for signal in context.values()]
                with m.If(self.start | begun):
                    m.d.sync += begun.eq(0)
                    m.next = "take"
            with m.State("take"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [word.eq(self.i.p.word), origin.eq(self.i.p.address), seat.eq(0), step.eq(0),
                             rows_inside.eq(1), sources_written.eq(1)]
                with m.If(self.i.valid):
                    m.next = "sort"
            with m.State("sort"):
                m.next = "offer"
                with m.Switch(opcode):
                    with m.Case(*steps):
                        m.next = "factors"
                    with m.Case(Opcode.ROPE, Opcode.EMBED):
                        m.next = "rows"
            with m.State("rows"):
                whose = state.seats[seat[:max(1, (config.seats - 1).bit_length())]]
                m.d.sync += [row.eq(Mux(opcode == Opcode.ROPE, whose.position, whose.token)), seat.eq(seat + 1)]
                with m.If((seat != 0) & (row >= facts[Opcode.EMBED].limit)):
                    m.d.sync += rows_inside.eq(0)
                with m.If(seat == state.tokens):
                    m.next = "settle"
            with m.State("factors"):
                with m.Switch(opcode):
                    for kind, each in steps.items():
                        with m.Case(kind), m.Switch(step):
                            for number, (_, one, other, _) in enumerate(each):
                                with m.Case(number):
                                    m.d.sync += [factor.eq(getattr(facts[kind], one)),
                                                 doubled.eq(getattr(facts[kind], other))]
                m.d.sync += total.eq(0)
                m.next = "multiply"
            with m.State("multiply"):
                m.d.sync += [factor.eq(factor >> 1), doubled.eq(doubled << 1)]
                with m.If(factor[0]):
                    m.d.sync += total.eq(total + doubled)
                with m.If(factor == 0):
                    m.d.sync += step.eq(step + 1)
                    m.next = "factors"
                    with m.Switch(opcode):
                        for kind, each in steps.items():
                            with m.Case(kind), m.Switch(step):
                                for number, (name, *_) in enumerate(each):
                                    with m.Case(number):
                                        m.d.sync += products[name].eq(total)
                                        if number == len(each) - 1:
                                            m.next = "sources"
            with m.State("sources"):
                with m.Switch(opcode):
                    for kind in steps:
                        with m.Case(kind):
                            m.d.sync += walk(reads(config, kind, facts[kind]))
                m.next = "read"
            with m.State("read"):
                m.d.sync += [block.eq(block + 1), left.eq(left - 1)]
                with m.If(~more):
                    m.next = "settle"
                with m.Elif(tag_read.data != tag):
                    m.d.sync += sources_written.eq(0)
            with m.State("settle"):  # `broken` follows all that it is made of by a cycle
                m.next = "offer"
            with m.State("offer"):
                m.d.comb += self.o.valid.eq(~skipped | refused)
                with m.If(skipped & ~refused):
                    m.next = "take"
                with m.Elif(self.o.ready):
                    with m.If(refused):
                        m.next = "halted"
                    with m.Else():
                        m.next = "take"
                        m.d.sync += [signal.eq(behind[name]) for name, signal in context.items()]
                        with m.Switch(opcode):
                            for kind in Opcode:
                                with m.Case(kind):
                                    if (place := writes(config, kind, facts[kind])) is not None:
                                        m.d.sync += walk(place)
                                        with m.If(place[2] != Tag.NONE):
                                            m.next = "write"
                                    if kind is Opcode.END:
                                        m.d.sync += [block.eq(0), tag.eq(Tag.NONE)]
                                        m.next = "wipe"
            with m.State("write"):
                m.d.comb += tag_write.en.eq(more)
                m.d.sync += [block.eq(block + 1), left.eq(left - 1)]
                with m.If(left == 1):
                    m.next = "take"
            with m.State("halted"):
                pass

        assert FIELDS[Opcode.ROPE]["limit"] == FIELDS[Opcode.EMBED]["limit"]
        assert all(len(factor) >= len(getattr(facts[kind], one)) and len(total) >= width
                   for kind, each in steps.items() for _, one, _, width in each)
        check(m, ~self.start | fsm.ongoing("wipe") | fsm.ongoing("idle"), "checker: a pass begins behind an END")
        check(m, ~fsm.ongoing("write") | more, "checker: blocks are written inside the operand buffer")
        check_stream(m, self.o, "checker.o")
        return m
