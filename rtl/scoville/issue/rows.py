"""LOAD, ROPE and EMBED: vectors from memory, one for all tokens or a row a token."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import Out
from amaranth.utils import exact_log2

from scoville.config import TILE_ROWS
from scoville.epilogue.chain import ChainSource, LaneScale
from scoville.epilogue.router import QuantDest
from scoville.epilogue.vectors import VectorDest
from scoville.isa import OPERATION, Mode, Opcode
from scoville.issue.commands import Outbox, issuer
from scoville.weights.walk import WeightKind

__all__ = ["RowIssuer"]

COMMANDS = ("decoder", "vectors", "chain", "quantiser")


class RowIssuer(wiring.Component):
    """Sends the commands of a LOAD; of a ROPE or an EMBED, those of a token after those of the one before.

    With more slots than one an EMBED has one command a phase for chain and quantiser, with that of its first row: the
    rows of its lanes go side by side.

    Throughput: 2 cycles, of ROPE and EMBED a token.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    op : In(OPERATION), stable from the cycle of `start` to that of `over`
    state : In(PassState)
    start : In(1); over : Out(1), the last commands are taken
    promise : Out(1), an EMBED's row is on its way, or those of a phase, of `blocks` operand blocks
    decoder, vectors, chain, quantiser : Out(stream), commands
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "promise": Out(1),
            "blocks": Out(len(Signal(OPERATION).embed.rows) - exact_log2(TILE_ROWS)),
        } | issuer(config, *COMMANDS))

    @staticmethod
    def model(config, f, state):
        """The commands: lists of dicts by port name, meaningful fields only.

        Parameters
        ----------
        f : dict of the instruction, as `isa.decode` returns it
        state : dict of `PassState`
        """
        opcode, beats = f["opcode"], f["bytes"] // config.bus_bytes
        out = {name: [] for name in COMMANDS}
        together = config.lanes if config.slots > 1 else 1  # rows of an EMBED
        for seat in range(1 if opcode is Opcode.LOAD else state["tokens"]):
            phases = {"first_phase": seat // config.lanes, "last_phase": seat // config.lanes}
            out["decoder"].append({"kind": WeightKind.VECTOR.value, "tiles": beats})
            if opcode is not Opcode.EMBED:
                dest = f["load_dest"] if opcode is Opcode.LOAD else VectorDest.ROPE.value
                out["vectors"].append({"dest": dest, "seat": seat, "beats": beats})
                continue
            out["vectors"].append({"dest": VectorDest.EMBED.value, "seat": seat, "beats": beats, "words": f["rows"],
                                   "element": f["element"]} | ({} if config.slots == 1 else {
                                       "closes": int(seat % together == together - 1 or seat + 1 == state["tokens"])}))
            if seat % together:
                continue
            mask = (1 << min(seat + together, state["tokens"])) - (1 << seat)
            out["chain"].append({
                "source": 1, "rows": f["rows"], "mask": mask, **phases, "bias": 0,
                "mode": Mode.PLAIN.value, "lane_scale": LaneScale.NONE.value, "residual_add": 0,
                "residual_store": 1, "norm": 1, "logits": 0, "inv_n": f["inv_n"], "epsilon": f["epsilon"]})
            out["quantiser"].append({
                "source": 0, "blocks": f["rows"] // TILE_ROWS, "mask": mask, "kv8": 0, "half": 0, **phases,
                "info": {"dest": QuantDest.OPERAND.value, "dst": f["dst"]}})
        return out

    def elaborate(self, platform):
        m = Module()
        config, op, embed = self.config, self.op, self.op.embed
        seat = Signal(range(config.seats + 1))
        is_load, is_embed = op.end.opcode == Opcode.LOAD, op.end.opcode == Opcode.EMBED
        needed = {"decoder": 1, "vectors": 1, "chain": is_embed, "quantiser": is_embed}
        mask, begins, further = 1 << seat, is_embed, needed  # `further` of the next token
        if config.slots > 1:
            lane, phase = seat[:config.lane_bits], seat[config.lane_bits:]
            mask = Cat((phase == number // config.lanes) & (number < self.state.tokens)
                       for number in range(config.seats))
            begins = is_embed & ~lane.any()
            further = needed | dict.fromkeys(("chain", "quantiser"), is_embed & lane.all())
            m.d.comb += self.vectors.p.closes.eq(lane.all() | (seat + 1 == self.state.tokens))
        outbox = Outbox(m, {name: getattr(self, name) for name in COMMANDS})
        with m.FSM():
            with m.State("idle"):
                m.d.sync += seat.eq(0)
                with m.If(self.start):
                    outbox.fill(**needed)
                    m.next = "commands"
            with m.State("commands"), m.If(outbox.empty):
                m.d.comb += self.promise.eq(begins)
                with m.If(is_load | (seat + 1 == self.state.tokens)):
                    m.d.comb += self.over.eq(1)
                    m.next = "idle"
                with m.Else():
                    m.d.sync += seat.eq(seat + 1)
                    outbox.fill(**further)

        m.d.comb += [
            self.blocks.eq(embed.rows[exact_log2(TILE_ROWS):]),

            self.decoder.p.kind.eq(WeightKind.VECTOR),
            self.decoder.p.tiles.eq(self.vectors.p.beats),

            self.vectors.p.seat.eq(seat),
            self.vectors.p.beats.eq(op.load.bytes[exact_log2(config.bus_bytes):]),
            self.vectors.p.words.eq(embed.rows),
            self.vectors.p.element.eq(embed.element),
            self.vectors.p.dest.eq(Mux(is_load, op.load.load_dest, Mux(is_embed, VectorDest.EMBED, VectorDest.ROPE))),

            self.chain.p.source.eq(ChainSource.EMBED),
            self.chain.p.rows.eq(embed.rows),
            self.chain.p.residual_store.eq(1),
            self.chain.p.norm.eq(1),
            self.chain.p.inv_n.eq(embed.inv_n),
            self.chain.p.epsilon.eq(embed.epsilon),

            self.quantiser.p.blocks.eq(self.blocks),
            self.quantiser.p.info.dest.eq(QuantDest.OPERAND),
            self.quantiser.p.info.dst.eq(embed.dst),
        ]
        for command in (self.chain.p, self.quantiser.p):
            m.d.comb += [command.mask.eq(mask), command.first_phase.eq(seat[config.lane_bits:]),
                         command.last_phase.eq(seat[config.lane_bits:])]
        return m
