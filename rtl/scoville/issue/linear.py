"""LINEAR: a matrix, with its epilogue."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from scoville.array.operand import credit_bits
from scoville.checks import check
from scoville.config import TILE_ROWS
from scoville.epilogue.chain import LaneScale
from scoville.epilogue.router import QuantDest
from scoville.isa import Dest, Mode
from scoville.issue.commands import Outbox, issuer
from scoville.masks import first_of, last_of
from scoville.program.spread import pass_places, places, runs
from scoville.sampler.walk import samplers, sampling_seats
from scoville.weights.walk import WeightKind

__all__ = ["LinearIssuer"]

COMMANDS = ("decoder", "chain", "quantiser", "kv", "sampler")
QUANT_DEST = {Dest.OPERAND: QuantDest.OPERAND, Dest.QUERY: QuantDest.QUERY, Dest.KEY: QuantDest.KEY,
              Dest.VALUE: QuantDest.VALUE}


class LinearIssuer(wiring.Component):
    """Sends the commands of a LINEAR, then a task for each of its tiles.

    Throughput: 2 cycles, and one a tile.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    op : In(OPERATION), stable from the cycle of `start` to that of `over`
    state : In(PassState)
    start : In(1); over : Out(1), the last task is taken
    guard : In(1), in the cycle behind `start`: the tasks wait for their operands; `need` : In, what was promised before
    decoder, chain, quantiser, kv, sampler : Out(stream), commands
    task : Out(stream), to the array
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "guard": In(1),
            "need": In(credit_bits(config)),
        } | issuer(config, *COMMANDS, "task"))

    @staticmethod
    def model(config, f, state, guard=None):
        """The commands and tasks: lists of dicts by port name, meaningful fields only.

        Parameters
        ----------
        f : dict of the instruction, as `isa.decode` returns it
        state : dict of `PassState`
        guard : the operand blocks promised before those that it reads, or None if nothing has to wait for them
        """
        tokens, dest = state["tokens"], f["dest"]
        logits, kv8, glu = dest == Dest.LOGITS, dest in (Dest.KEY, Dest.VALUE), f["mode"] == Mode.GLU
        everyone, seats = (1 << tokens) - 1, [0, tokens - 1]
        if logits:
            seats = sampling_seats(config, state) or [0]
        phases = {"first_phase": seats[0] // config.lanes, "last_phase": seats[-1] // config.lanes}
        out = {name: [] for name in (*COMMANDS, "task")}
        out["decoder"].append({"kind": WeightKind.LINEAR.value} | {name: f[name] for name in (
            "tiles", "kblocks", "code_bits8", "scale_format", "minimum", "high_bits")})
        out["chain"].append({
            "source": 0, "rows": f["tiles"] * TILE_ROWS, "mask": everyone, "bias": f["bias"], "mode": f["mode"],
            "lane_scale": (LaneScale.RMS if f["lane_scale"] else LaneScale.NONE).value,
            "residual_add": f["residual"], "residual_store": f["residual"], "norm": f["norm"],
            "logits": int(logits), "limit": f["limit"], "head_blocks": f["head_blocks"],
        } | phases | ({name: f[name] for name in ("inv_n", "epsilon")} if f["norm"] else {}))
        if logits:
            out["sampler"].append({"rows": f["limit"]})
        elif dest != Dest.NONE:
            out["quantiser"].append({
                "source": 0, "blocks": f["tiles"] // 2 if glu else f["tiles"], "mask": everyone, "kv8": int(kv8),
                "half": int(glu), **phases,
                "info": {"dest": QUANT_DEST[dest].value, "dst": f["dst"], "group": f["group"],
                         "head_blocks": f["head_blocks"]} | ({
                             "places": places(config, f["group"], len(runs(state)) > 1),
                             "stride": places(config, f["group"]) * f["head_blocks"]} if config.slots > 1 else {})})
        if kv8:
            out["kv"].append({
                "value": int(dest == Dest.VALUE), "blocks": f["tiles"] * tokens} | {
                    name: f[name] for name in ("offset", "stride", "cache", "head_blocks")})
        out["task"] += [{"address": f["src"], "kblocks": f["kblocks"], "tile": 0, "clear": 1, "rescale": 0,
                         "drain": 1, "tag": 0, "guard": int(guard is not None)} | phases
                        | ({} if guard is None else {"need": guard})] * f["tiles"]
        return out

    def elaborate(self, platform):
        m = Module()
        op, tiles = self.op.linear, Signal(len(self.op.linear.tiles))
        self._payloads(m)
        outbox = Outbox(m, {name: getattr(self, name) for name in COMMANDS})
        logits = op.dest == Dest.LOGITS
        with m.FSM() as fsm:
            with m.State("idle"):
                m.d.sync += tiles.eq(0)
                with m.If(self.start):
                    outbox.fill(decoder=1, chain=1, quantiser=~logits & (op.dest != Dest.NONE),
                                kv=(op.dest == Dest.KEY) | (op.dest == Dest.VALUE), sampler=logits)
                    m.next = "commands"
            with m.State("commands"), m.If(outbox.empty):
                m.next = "tiles"
            with m.State("tiles"):
                m.d.comb += self.task.valid.eq(1)
                with m.If(self.task.ready):
                    m.d.sync += tiles.eq(tiles + 1)
                    with m.If(tiles + 1 == op.tiles):
                        m.d.comb += self.over.eq(1)
                        m.next = "idle"
        check(m, ~fsm.ongoing("tiles") | (tiles < op.tiles), "linear: a tile of the matrix")
        return m

    def _sampling(self, token):
        """The first and the last seat that samples."""
        if self.config.slots == 1:
            return token, token
        mask = samplers(self.config, self.state)
        return first_of(mask), last_of(mask)

    def _payloads(self, m):
        """Functions of the instruction and the pass."""
        config, state, op = self.config, self.state, self.op.linear
        everyone, token = Signal(config.seats), Signal(range(config.seats))  # all tokens of the pass, and its last
        first, last = self._sampling(token)
        first_phase, last_phase = (Signal(range(config.phases), name=name) for name in ("first_phase", "last_phase"))
        logits, glu = op.dest == Dest.LOGITS, op.mode == Mode.GLU
        m.d.comb += [
            everyone.eq((1 << state.tokens) - 1),
            token.eq(state.tokens - 1),
            last_phase.eq(Mux(logits, last, token)[config.lane_bits:]),
            first_phase.eq(Mux(logits, first, 0)[config.lane_bits:]),

            self.decoder.p.kind.eq(WeightKind.LINEAR),
            *(getattr(self.decoder.p, name).eq(getattr(op, name))
              for name in ("tiles", "kblocks", "code_bits8", "scale_format", "minimum", "high_bits")),

            self.chain.p.rows.eq(op.tiles * TILE_ROWS),
            self.chain.p.lane_scale.eq(Mux(op.lane_scale, LaneScale.RMS, LaneScale.NONE)),
            self.chain.p.residual_add.eq(op.residual),
            self.chain.p.residual_store.eq(op.residual),
            self.chain.p.logits.eq(logits),
            *(getattr(self.chain.p, name).eq(getattr(op, name))
              for name in ("bias", "mode", "norm", "head_blocks", "limit", "inv_n", "epsilon")),

            self.quantiser.p.blocks.eq(Mux(glu, op.tiles >> 1, op.tiles)),
            self.quantiser.p.half.eq(glu),
            self.quantiser.p.kv8.eq((op.dest == Dest.KEY) | (op.dest == Dest.VALUE)),
            *(getattr(self.quantiser.p.info, name).eq(getattr(op, name)) for name in ("dst", "group", "head_blocks")),

            self.kv.p.value.eq(op.dest == Dest.VALUE),
            self.kv.p.blocks.eq(op.tiles * state.tokens),
            *(getattr(self.kv.p, name).eq(getattr(op, name)) for name in ("offset", "stride", "cache", "head_blocks")),

            self.sampler.p.rows.eq(op.limit),

            self.task.p.address.eq(op.src),
            self.task.p.kblocks.eq(op.kblocks),
            self.task.p.clear.eq(1),
            self.task.p.drain.eq(1),
            self.task.p.guard.eq(self.guard),
            self.task.p.need.eq(self.need),
        ]
        for command in (self.chain.p, self.quantiser.p):
            m.d.comb += command.mask.eq(everyone)
        for command in (self.chain.p, self.quantiser.p, self.task.p):
            m.d.comb += [command.first_phase.eq(first_phase), command.last_phase.eq(last_phase)]
        with m.Switch(op.dest):
            for value, target in QUANT_DEST.items():
                with m.Case(value):
                    m.d.comb += self.quantiser.p.info.dest.eq(target)
        if config.slots > 1:
            stride = Signal.like(self.quantiser.p.info.stride, name="stride", reset_less=True)
            m.d.sync += stride.eq(places(config, op.group) * op.head_blocks)
            m.d.comb += [self.quantiser.p.info.places.eq(pass_places(m, config, state, op.group)),
                         self.quantiser.p.info.stride.eq(stride)]
