"""The back half of control: carries out the instructions, in order, through the issuer of each kind."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from scoville.checks import check, check_stream
from scoville.isa import INSTRUCTION_BYTES, OPERATION, Dest, Opcode, decode
from scoville.issue.attend import AttendIssuer
from scoville.issue.commands import ports
from scoville.issue.linear import LinearIssuer
from scoville.issue.promises import Promises
from scoville.issue.rows import RowIssuer
from scoville.schedule.seats import PassState

__all__ = ["Issue"]


class Issue(wiring.Component):
    """Pops instructions and hands each to its issuer, which drives the datapath; nothing in it knows a model.

    An instruction first sends its commands (decoder, chain, quantiser …), each to the unit's queue, then its array
    tasks. The next instruction follows at once unless it says `wait`. Where it reads what the last instruction before
    it writes to the operand buffer, its tasks are guarded, and the array takes each block as it comes; else the
    datapath must be `quiet` before it starts.

    Throughput: 4 cycles an instruction, one more a tile of a LINEAR, two more a token of ROPE and EMBED.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    i : In(stream(256)), instructions
    state : In(PassState)
    decoder, vectors, chain, quantiser, softmax, kv, sampler : Out(stream), commands
    task : Out(stream), to the array
    shift : In(stream), the softmax unit's rescale shifts, one item a page
    probability_done : In(1), a page's probability blocks have been written
    quiet : In(1), no command or datum is anywhere between the decoder and the operand buffer
    settled : In(1), sampler, dump and KV store have nothing left to do
    done : Out(1), the pass has ended (for one cycle)
    waiting, waiting_softmax : Out(1), held by a dependency; by the softmax unit
    opcode, dest : Out, of the instruction in progress
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(8 * INSTRUCTION_BYTES)),
            "state": In(PassState(config)),
            "shift": In(stream.Signature(data.ArrayLayout(8, config.seats))),
            "probability_done": In(1),
            "quiet": In(1),
            "settled": In(1),
            "done": Out(1),
            "waiting": Out(1),
            "waiting_softmax": Out(1),
            "opcode": Out(4),
            "dest": Out(3),
        } | ports(config))

    @staticmethod
    def model(config, program, state, shifts, *, promises=None):
        """The commands and tasks of the instructions of a pass: lists of dicts by port name, meaningful fields only.

        Parameters
        ----------
        program : list of words, without the END
        state : dict of `PassState`
        shifts : as for `AttendIssuer.model`
        promises : `Promises.Model`, what earlier passes promised to the operand buffer; brought up to date
        """
        promises = promises or Promises.Model(config)
        out = {name: [] for name in ports(config)}
        for word in program:
            f = decode(word.to_bytes(INSTRUCTION_BYTES, "little"))
            opcode = f["opcode"]
            if opcode is Opcode.ATTEND:
                items = AttendIssuer.model(config, f, state, shifts, guard=promises.guard(f))
                promises.promise(f["dst"], f["kv_heads"] * f["group"] * f["head_blocks"])
            elif opcode is Opcode.LINEAR:
                items = LinearIssuer.model(config, f, state, promises.guard(f))
                if f["dest"] in (Dest.OPERAND, Dest.QUERY):
                    promises.promise(f["dst"], items["quantiser"][-1]["blocks"])
            else:
                items = RowIssuer.model(config, f, state)
                for row in items["quantiser"]:
                    promises.promise(None, row["blocks"])
            for name, commands in items.items():
                out[name] += commands
        return out

    def elaborate(self, platform):
        m = Module()
        op = Signal(OPERATION, reset_less=True)
        opcode, linear = op.end.opcode, op.linear
        m.submodules.linear = linears = LinearIssuer(self.config)
        m.submodules.rows = rows = RowIssuer(self.config)
        m.submodules.attend = attend = AttendIssuer(self.config)
        m.submodules.promises = promises = Promises(self.config)
        issuers = {Opcode.LINEAR: linears, Opcode.ATTEND: attend, Opcode.LOAD: rows, Opcode.ROPE: rows,
                   Opcode.EMBED: rows}
        m.d.comb += [self.opcode.eq(opcode), self.dest.eq(linear.dest)]

        guarded, need = Signal(), Signal.like(promises.need)
        start, over = Signal(), Signal()
        for issuer in (linears, rows, attend):
            m.d.comb += [issuer.op.eq(op), issuer.state.eq(self.state)]
        for issuer in (linears, attend):
            m.d.comb += [issuer.guard.eq(guarded), issuer.need.eq(need)]
        m.d.comb += [
            attend.probability_done.eq(self.probability_done), self.waiting_softmax.eq(attend.waiting_softmax),
            promises.op.eq(op),
            over.eq(linears.over | rows.over | attend.over),
        ]
        wiring.connect(m, wiring.flipped(self.shift), attend.shift)

        with m.FSM() as fsm:
            with m.State("take"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += op.eq(self.i.payload)
                with m.If(self.i.valid):
                    m.next = "order"
            with m.State("order"):
                m.d.sync += [guarded.eq(op.end.wait & promises.guard), need.eq(promises.need)]
                with m.If(opcode == Opcode.END):
                    m.d.comb += self.waiting.eq(1)
                    with m.If(self.quiet & self.settled):
                        m.next = "end"
                with m.Elif(op.end.wait & ~promises.guard & ~self.quiet):
                    m.d.comb += self.waiting.eq(1)
                with m.Else():
                    m.d.comb += start.eq(1)
                    m.next = "issue"
            with m.State("issue"), m.If(over):
                m.next = "take"
            with m.State("end"):  # the sequence need not see in the same cycle that every unit rests
                m.d.comb += [self.waiting.eq(1), self.done.eq(1)]
                m.next = "take"

        # A matrix promises its results when it begins, so that the next may read them; the others when they are over.
        to_operands = (linear.dest == Dest.OPERAND) | (linear.dest == Dest.QUERY)
        m.d.comb += promises.promise.eq(linears.start & to_operands | rows.promise | attend.over)
        with m.Switch(opcode):
            with m.Case(Opcode.LINEAR):
                m.d.comb += [linears.start.eq(start), promises.blocks.eq(linears.quantiser.p.blocks)]
            with m.Case(Opcode.ATTEND):
                m.d.comb += [attend.start.eq(start), promises.blocks.eq(attend.blocks)]
            with m.Default():
                m.d.comb += [rows.start.eq(start), promises.blocks.eq(rows.blocks)]

        for name in ports(self.config):
            port = getattr(self, name)
            sources = {kind: getattr(issuer, name) for kind, issuer in issuers.items() if hasattr(issuer, name)}
            m.d.comb += port.valid.eq(Cat({id(source): source.valid for source in sources.values()}.values()).any())
            with m.Switch(opcode):
                for kind, source in sources.items():
                    m.d.comb += source.ready.eq(port.ready)
                    with m.Case(kind):
                        m.d.comb += port.payload.eq(source.payload)
            check_stream(m, port, f"issue: {name}")
        check(m, ~fsm.ongoing("order") | (opcode <= max(Opcode).value), "issue: the instruction is known")
        return m
