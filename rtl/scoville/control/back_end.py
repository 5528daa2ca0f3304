"""The back end: carries out the instructions, in order, as commands to the units and tasks to the array."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from scoville.array.array import array_task
from scoville.array.operand import credit_bits
from scoville.attention.kv_store import store_command_layout
from scoville.attention.softmax import softmax_command_layout
from scoville.checks import check, check_stream
from scoville.config import TILE_ROWS
from scoville.control.attend import AttendWalker
from scoville.control.state import PassState
from scoville.epilogue.chain import LaneScale, chain_command
from scoville.epilogue.quantiser import quantiser_command
from scoville.epilogue.router import QuantDest
from scoville.epilogue.vectors import VectorDest, vector_command
from scoville.isa import INSTRUCTION_BYTES, Dest, Mode, Opcode, decode, field
from scoville.sampler.sampler import sampler_command
from scoville.weights.walk import WeightCommand, WeightKind

__all__ = ["BackEnd"]

COMMANDS = ("decoder", "vectors", "chain", "quantiser", "kv", "sampler", "dump")
_QUANT_DEST = {Dest.OPERAND: QuantDest.OPERAND, Dest.QUERY: QuantDest.QUERY, Dest.KEY: QuantDest.KEY,
               Dest.VALUE: QuantDest.VALUE}


def promise(config, board, dst, blocks):
    """Note that the next results are `blocks` operand blocks from `dst` on (None: nobody can wait for them singly)."""
    promised = board.get("promised", 0)
    board.update(base=promised, dst=dst, blocks=blocks, promised=(promised + blocks) % (1 << credit_bits(config)))


def guarded(board, fields):
    """What an instruction's first k-block needs, if it is to wait for its operands block by block, or None."""
    if not fields["wait"] or board.get("dst") != fields["src"]:
        return None
    return board["base"] if fields.get("kblocks", 0) <= board["blocks"] else None


class BackEnd(wiring.Component):
    """Pops instructions and drives the datapath; nothing in it knows a model.

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
    decoder, vectors, chain, quantiser, softmax, kv, sampler, dump : Out(stream), commands
    task : Out(stream), to the array
    shift : In(stream), the softmax unit's rescale shifts, one item a page
    probability_done : In(1), a page's probability blocks have been written
    quiet : In(1), no command or datum is anywhere between the decoder and the operand buffer
    settled : In(1), sampler, dump and KV store have nothing left to do
    dump_base : In(addr_bits), where this token's logits go; 0 for nowhere
    seed, invt : In, the sampler's settings
    done : Out(1), the pass has ended (for one cycle)
    waiting, waiting_softmax : Out(1), held by a dependency; by the softmax unit
    opcode, dest : Out, of the instruction in progress
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(8 * INSTRUCTION_BYTES)),
            "state": In(PassState(config)),
            "decoder": Out(stream.Signature(WeightCommand)),
            "vectors": Out(stream.Signature(vector_command(config))),
            "chain": Out(stream.Signature(chain_command(config))),
            "quantiser": Out(stream.Signature(quantiser_command(config))),
            "softmax": Out(stream.Signature(softmax_command_layout(config))),
            "kv": Out(stream.Signature(store_command_layout(config))),
            "sampler": Out(stream.Signature(sampler_command(config))),
            "dump": Out(stream.Signature(data.StructLayout({"address": config.addr_bits, "words": 24}))),
            "task": Out(stream.Signature(array_task(config))),
            "shift": In(stream.Signature(data.ArrayLayout(8, config.seats))),
            "probability_done": In(1),
            "quiet": In(1),
            "settled": In(1),
            "dump_base": In(config.addr_bits),
            "seed": In(64),
            "invt": In(32),
            "done": Out(1),
            "waiting": Out(1),
            "waiting_softmax": Out(1),
            "opcode": Out(4),
            "dest": Out(3),
        })

    @staticmethod
    def model(config, program, state, shifts, *, dump_base=0, seed=0, invt=0, board=None):
        """The commands and tasks of the instructions of a pass: lists of dicts by port name, meaningful fields only.

        Parameters
        ----------
        program : list of words, without the END
        state : dict of `PassState`
        shifts : as for `AttendWalker.model`
        dump_base, seed, invt : int, as the ports
        board : dict, what earlier passes promised to the operand buffer; brought up to date
        """
        board = {} if board is None else board
        out = {name: [] for name in (*COMMANDS, "softmax", "task")}
        tokens = state["tokens"]
        everyone = (1 << tokens) - 1
        last_phase = (tokens - 1) // config.lanes
        for word in program:
            f = decode(word.to_bytes(INSTRUCTION_BYTES, "little"))
            opcode = f["opcode"]
            if opcode is Opcode.ATTEND:
                guard = guarded(board, f)
                promise(config, board, f["dst"], f["kv_heads"] * f["group"] * f["head_blocks"])
                for name, items in AttendWalker.model(config, f, state, shifts, guard=guard).items():
                    out[name] += items
            elif opcode is Opcode.LINEAR:
                dest, logits, kv8 = f["dest"], f["dest"] == Dest.LOGITS, f["dest"] in (Dest.KEY, Dest.VALUE)
                phases = {"first_phase": last_phase if logits else 0, "last_phase": last_phase}
                out["decoder"].append({"kind": WeightKind.LINEAR.value} | {name: f[name] for name in (
                    "tiles", "kblocks", "code_bits8", "scale_format", "minimum")})
                out["chain"].append({
                    "source": 0, "rows": f["tiles"] * TILE_ROWS, "mask": everyone, "bias": f["bias"], "mode": f["mode"],
                    "lane_scale": (LaneScale.RMS if f["lane_scale"] else LaneScale.NONE).value,
                    "residual_add": f["residual"], "residual_store": f["residual"], "norm": f["norm"],
                    "logits": int(logits), "limit": f["limit"], "head_blocks": f["head_blocks"],
                } | phases | ({name: f[name] for name in ("inv_n", "epsilon")} if f["norm"] else {}))
                if logits:
                    out["sampler"].append({"lane": (tokens - 1) % config.lanes, "invt": invt, "seed": seed,
                                           "rows": f["limit"], "position": state["position"] + tokens - 1})
                    out["dump"] += [{"address": dump_base, "words": f["limit"]}] if dump_base else []
                else:
                    out["quantiser"].append({
                        "source": 0, "blocks": f["tiles"] // 2 if f["mode"] == Mode.GLU else f["tiles"],
                        "mask": everyone, "kv8": int(kv8), "half": int(f["mode"] == Mode.GLU), **phases,
                        "info": {"dest": _QUANT_DEST[dest].value, "dst": f["dst"], "group": f["group"],
                                 "head_blocks": f["head_blocks"]}})
                if kv8:
                    out["kv"].append({
                        "value": int(dest == Dest.VALUE), "table": f["table"], "table_stride": f["table_stride"],
                        "position": state["position"], "head_blocks": f["head_blocks"], "blocks": f["tiles"] * tokens})
                guard = guarded(board, f)
                out["task"] += [{"address": f["src"], "kblocks": f["kblocks"], "tile": 0, "clear": 1, "rescale": 0,
                                 "drain": 1, "tag": 0, "guard": int(guard is not None)} | phases
                                | ({} if guard is None else {"need": guard})] * f["tiles"]
                if dest in (Dest.OPERAND, Dest.QUERY):
                    promise(config, board, f["dst"], out["quantiser"][-1]["blocks"])
            else:
                beats = f["bytes"] // config.bus_bytes
                for seat in range(1 if opcode is Opcode.LOAD else tokens):
                    phases = {"first_phase": seat // config.lanes, "last_phase": seat // config.lanes}
                    out["decoder"].append({"kind": WeightKind.VECTOR.value, "tiles": beats})
                    if opcode is not Opcode.EMBED:
                        dest = f["load_dest"] if opcode is Opcode.LOAD else VectorDest.ROPE.value
                        out["vectors"].append({"dest": dest, "seat": seat, "beats": beats})
                        continue
                    out["vectors"].append({"dest": VectorDest.EMBED.value, "seat": seat, "beats": beats,
                                           "words": f["rows"], "element": f["element"]})
                    out["chain"].append({
                        "source": 1, "rows": f["rows"], "mask": 1 << seat, **phases, "bias": 0,
                        "mode": Mode.PLAIN.value, "lane_scale": LaneScale.NONE.value, "residual_add": 0,
                        "residual_store": 1, "norm": 1, "logits": 0, "inv_n": f["inv_n"], "epsilon": f["epsilon"]})
                    out["quantiser"].append({
                        "source": 0, "blocks": f["rows"] // TILE_ROWS, "mask": 1 << seat, "kv8": 0, "half": 0, **phases,
                        "info": {"dest": QuantDest.OPERAND.value, "dst": f["dst"]}})
                    promise(config, board, None, f["rows"] // TILE_ROWS)
        return out

    def _payloads(self, m, word, seat):
        """The commands' payloads, as functions of the instruction (and of the seat, where it goes seat by seat)."""
        config, state = self.config, self.state
        bus_shift = config.bus_bytes.bit_length() - 1
        opcode = field(word, Opcode.END, "opcode")
        is_linear = opcode == Opcode.LINEAR
        is_embed = opcode == Opcode.EMBED

        def linear(name):
            return field(word, Opcode.LINEAR, name)

        dest = linear("dest")
        vector_beats = field(word, Opcode.LOAD, "bytes") >> bus_shift
        everyone = Signal(config.seats)
        mask = Signal(config.seats)
        token = Signal(range(config.seats))  # the last
        first_phase, last_phase = (Signal(range(config.phases), name=name) for name in ("first_phase", "last_phase"))
        logits = is_linear & (dest == Dest.LOGITS)
        half = is_linear & (linear("mode") == Mode.GLU)
        rows = Signal(24)
        blocks = Signal(24)
        m.d.comb += [
            everyone.eq((1 << state.tokens) - 1),
            mask.eq(Mux(is_embed, 1 << seat, everyone)),
            token.eq(state.tokens - 1),
            last_phase.eq(Mux(is_embed, seat, token)[config.lane_bits:]),
            first_phase.eq(Mux(is_embed | logits, last_phase, 0)),
            rows.eq(Mux(is_embed, field(word, Opcode.EMBED, "rows"), linear("tiles") * TILE_ROWS)),
            blocks.eq(Mux(half, rows >> 6, rows >> 5)),
        ]
        m.d.comb += [
            self.decoder.p.kind.eq(Mux(is_linear, WeightKind.LINEAR, WeightKind.VECTOR)),
            self.decoder.p.tiles.eq(Mux(is_linear, linear("tiles"), vector_beats)),
            self.decoder.p.kblocks.eq(linear("kblocks")),
            self.decoder.p.code_bits8.eq(linear("code_bits8")),
            self.decoder.p.scale_format.eq(linear("scale_format")),
            self.decoder.p.minimum.eq(linear("minimum")),

            self.vectors.p.seat.eq(seat),
            self.vectors.p.beats.eq(vector_beats),
            self.vectors.p.words.eq(field(word, Opcode.EMBED, "rows")),
            self.vectors.p.element.eq(field(word, Opcode.EMBED, "element")),

            self.chain.p.source.eq(is_embed),
            self.chain.p.rows.eq(rows),
            self.chain.p.mask.eq(mask),
            self.chain.p.first_phase.eq(first_phase),
            self.chain.p.last_phase.eq(last_phase),
            self.chain.p.lane_scale.eq(Mux(is_linear & linear("lane_scale"), LaneScale.RMS, LaneScale.NONE)),
            self.chain.p.bias.eq(is_linear & linear("bias")),
            self.chain.p.mode.eq(Mux(is_linear, linear("mode"), Mode.PLAIN.value)),
            self.chain.p.residual_add.eq(is_linear & linear("residual")),
            self.chain.p.residual_store.eq(is_embed | linear("residual")),
            self.chain.p.norm.eq(is_embed | linear("norm")),
            self.chain.p.head_blocks.eq(linear("head_blocks")),
            self.chain.p.logits.eq(logits),
            self.chain.p.limit.eq(linear("limit")),
            self.chain.p.inv_n.eq(linear("inv_n")),
            self.chain.p.epsilon.eq(linear("epsilon")),

            self.quantiser.p.blocks.eq(blocks),
            self.quantiser.p.mask.eq(mask),
            self.quantiser.p.first_phase.eq(first_phase),
            self.quantiser.p.last_phase.eq(last_phase),
            self.quantiser.p.half.eq(half),
            self.quantiser.p.kv8.eq(is_linear & ((dest == Dest.KEY) | (dest == Dest.VALUE))),
            self.quantiser.p.info.dst.eq(Mux(is_embed, field(word, Opcode.EMBED, "dst"), linear("dst"))),
            self.quantiser.p.info.group.eq(linear("group")),
            self.quantiser.p.info.head_blocks.eq(linear("head_blocks")),

            self.kv.p.value.eq(dest == Dest.VALUE),
            self.kv.p.table.eq(linear("table")),
            self.kv.p.table_stride.eq(linear("table_stride")),
            self.kv.p.position.eq(state.position),
            self.kv.p.head_blocks.eq(linear("head_blocks")),
            self.kv.p.blocks.eq(linear("tiles") * state.tokens),

            self.sampler.p.lane.eq(token[:config.lane_bits]),
            self.task.p.first_phase.eq(first_phase),
            self.task.p.last_phase.eq(last_phase),
            self.sampler.p.invt.eq(self.invt),
            self.sampler.p.seed.eq(self.seed),
            self.sampler.p.position.eq(state.position + state.tokens - 1),
            self.sampler.p.rows.eq(linear("limit")),

            self.dump.p.address.eq(self.dump_base),
            self.dump.p.words.eq(linear("limit")),
        ]
        with m.Switch(opcode):
            with m.Case(Opcode.LOAD):
                m.d.comb += self.vectors.p.dest.eq(field(word, Opcode.LOAD, "load_dest"))
            with m.Case(Opcode.ROPE):
                m.d.comb += self.vectors.p.dest.eq(VectorDest.ROPE)
            with m.Default():
                m.d.comb += self.vectors.p.dest.eq(VectorDest.EMBED)
        with m.Switch(Mux(is_linear, dest, Dest.OPERAND.value)):
            for value, target in _QUANT_DEST.items():
                with m.Case(value):
                    m.d.comb += self.quantiser.p.info.dest.eq(target)

    def elaborate(self, platform):
        m = Module()
        config, state = self.config, self.state

        word = Signal(8 * INSTRUCTION_BYTES, reset_less=True)
        opcode = field(word, Opcode.END, "opcode")
        dest = field(word, Opcode.LINEAR, "dest")
        seat = Signal(range(config.seats + 1))
        tiles = Signal(len(field(word, Opcode.LINEAR, "tiles")))
        self._payloads(m, word, seat)

        m.submodules.walker = walker = AttendWalker(config)

        # The last results that were promised to the operand buffer: how many before them, where, and how many.
        promised, base = Signal(credit_bits(config)), Signal(credit_bits(config))
        place = len(field(word, Opcode.LINEAR, "dst"))
        results, result_blocks, countable = Signal(place), Signal(place), Signal()
        promise, promised_blocks = Signal(), Signal(place)
        with m.If(promise):
            m.d.sync += [base.eq(promised), promised.eq(promised + promised_blocks), result_blocks.eq(promised_blocks),
                         results.eq(field(word, Opcode.LINEAR, "dst")), countable.eq(opcode != Opcode.EMBED)]
        waits = field(word, Opcode.END, "wait")
        guard, guarded, need = Signal(), Signal(), Signal(credit_bits(config))
        m.d.comb += [
            guard.eq(countable & (field(word, Opcode.LINEAR, "src") == results) & (
                (opcode == Opcode.ATTEND)
                | (opcode == Opcode.LINEAR) & (field(word, Opcode.LINEAR, "kblocks") <= result_blocks))),
            promised_blocks.eq(self.quantiser.p.blocks),
        ]
        attend_blocks = Signal(place, reset_less=True)  # wanted long after its factors are there
        m.d.sync += attend_blocks.eq(field(word, Opcode.ATTEND, "kv_heads") * walker.kv_blocks)
        m.d.comb += [self.opcode.eq(opcode), self.dest.eq(dest)]

        m.d.comb += [
            walker.i.payload.eq(word),
            walker.state.eq(state),
            walker.guard.eq(guarded),
            walker.need.eq(need),
            walker.shift.payload.eq(self.shift.payload),
            walker.shift.valid.eq(self.shift.valid),
            self.shift.ready.eq(walker.shift.ready),
            walker.probability_done.eq(self.probability_done),
            self.waiting_softmax.eq(walker.waiting_softmax),
            self.softmax.payload.eq(walker.softmax.payload),
            self.softmax.valid.eq(walker.softmax.valid),
            walker.softmax.ready.eq(self.softmax.ready),
        ]

        # Commands that this instruction still has to send.
        due = {name: Signal(name=f"due_{name}") for name in COMMANDS}
        any_due = Cat(due.values()).any()
        is_load = (opcode == Opcode.LOAD) | (opcode == Opcode.ROPE) | (opcode == Opcode.EMBED)
        is_linear = opcode == Opcode.LINEAR
        logits = is_linear & (dest == Dest.LOGITS)
        needed = {
            "decoder": is_load | is_linear,
            "vectors": is_load,
            "chain": is_linear | (opcode == Opcode.EMBED),
            "quantiser": (is_linear & (dest != Dest.LOGITS) & (dest != Dest.NONE)) | (opcode == Opcode.EMBED),
            "kv": is_linear & ((dest == Dest.KEY) | (dest == Dest.VALUE)),
            "sampler": logits,
            "dump": logits & (self.dump_base != 0),
        }

        with m.FSM() as fsm:
            with m.State("take"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += word.eq(self.i.payload)
                with m.If(self.i.valid):
                    m.next = "order"
            with m.State("order"):
                m.d.sync += [seat.eq(0), tiles.eq(0), guarded.eq(waits & guard), need.eq(base)]
                with m.If(opcode == Opcode.END):
                    m.d.comb += self.waiting.eq(1)
                    with m.If(self.quiet & self.settled):
                        m.next = "end"
                with m.Elif(waits & ~guard & ~self.quiet):
                    m.d.comb += self.waiting.eq(1)
                with m.Elif(opcode == Opcode.ATTEND):
                    m.next = "attend"
                with m.Else():
                    m.d.comb += promise.eq(is_linear & ((dest == Dest.OPERAND) | (dest == Dest.QUERY)))
                    m.d.sync += [due[name].eq(needed[name]) for name in COMMANDS]
                    m.next = "command"
            with m.State("end"):  # the sequence need not see in the same cycle that every unit rests
                m.d.comb += [self.waiting.eq(1), self.done.eq(1)]
                m.next = "take"
            with m.State("command"):
                for name in COMMANDS:
                    port = getattr(self, name)
                    m.d.comb += port.valid.eq(due[name])
                    with m.If(port.ready):
                        m.d.sync += due[name].eq(0)
                with m.If(~any_due):
                    m.d.comb += promise.eq(opcode == Opcode.EMBED)
                    with m.If(is_linear):
                        m.next = "tiles"
                    with m.Elif((opcode != Opcode.LOAD) & (seat + 1 != state.tokens)):
                        m.d.sync += seat.eq(seat + 1)
                        m.d.sync += [due[name].eq(needed[name]) for name in COMMANDS]
                    with m.Else():
                        m.next = "take"
            with m.State("tiles"):
                m.d.comb += [
                    self.task.valid.eq(1),
                    self.task.p.address.eq(field(word, Opcode.LINEAR, "src")),
                    self.task.p.kblocks.eq(field(word, Opcode.LINEAR, "kblocks")),
                    self.task.p.clear.eq(1),
                    self.task.p.drain.eq(1),
                    self.task.p.guard.eq(guarded),
                    self.task.p.need.eq(need),
                ]
                with m.If(self.task.ready):
                    m.d.sync += tiles.eq(tiles + 1)
                    with m.If(tiles + 1 == field(word, Opcode.LINEAR, "tiles")):
                        m.next = "take"
            with m.State("attend"):
                m.d.comb += walker.i.valid.eq(1)
                with m.If(walker.i.ready):
                    m.d.comb += [promise.eq(1), promised_blocks.eq(attend_blocks)]
                    m.next = "take"

        # The checker has seen to it that what the units are told is within the build.
        check(m, ~promise | (promised_blocks <= config.operand_blocks), "back end: results fit the operand buffer")
        with m.If(fsm.ongoing("order")):
            check(m, opcode <= max(Opcode).value, "back end: the instruction is known")
        with m.If(fsm.ongoing("tiles")):
            check(m, tiles < field(word, Opcode.LINEAR, "tiles"), "back end: a tile of the matrix")
        for name in (*COMMANDS, "softmax", "task"):
            check_stream(m, getattr(self, name), f"back end: {name}")

        # The walker has the command ports while an ATTEND is under way.
        with m.If(fsm.ongoing("attend")):
            for name in ("decoder", "chain", "quantiser", "task"):
                ours, theirs = getattr(self, name), getattr(walker, name)
                m.d.comb += [
                    ours.payload.eq(theirs.payload),
                    ours.valid.eq(theirs.valid),
                    theirs.ready.eq(ours.ready),
                ]
        return m
