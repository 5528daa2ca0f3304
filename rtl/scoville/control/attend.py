"""The attention walker: one ATTEND instruction as a run of key, value and softmax work."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from scoville.array.array import array_task
from scoville.attention.softmax import softmax_command_layout
from scoville.config import PAGE_TOKENS, TILE_ROWS
from scoville.control.front_end import PAGE_SHIFT, PassState
from scoville.epilogue.chain import LaneScale, chain_command
from scoville.epilogue.quantiser import quantiser_command
from scoville.epilogue.router import QuantDest
from scoville.isa import INSTRUCTION_BYTES, Opcode, ScaleFormat, field
from scoville.weights.decoder import WeightCommand, WeightKind

__all__ = ["AttendWalker"]


class AttendWalker(wiring.Component):
    """Walks KV heads, then passes of T (token, query head) pairs, then pages.

    The keys of page n + 1 go to the array before the values of page n, so that the softmax unit works on a page while
    the array is busy with another: K0, K1 V0, K2 V1, …, V(last). The front end reads in the same order.

    The queries of pass n are in phase n mod P, and so are its probabilities: a pass has one phase.

    Throughput: T + 6 cycles a pass, and 3 or 4 a page and a block of the head, all in the shadow of the array's work.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    i : In(stream(256)), an ATTEND instruction; taken when the walk is over
    state : In(PassState)
    decoder, chain, quantiser, softmax : Out(stream), commands
    task : Out(stream), to the array
    shift : In(stream), from the softmax unit, one item a page
    probability_done : In(1)
    waiting_softmax : Out(1)
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(8 * INSTRUCTION_BYTES)),
            "state": In(PassState(config)),
            "decoder": Out(stream.Signature(WeightCommand)),
            "chain": Out(stream.Signature(chain_command(config))),
            "quantiser": Out(stream.Signature(quantiser_command(config))),
            "softmax": Out(stream.Signature(softmax_command_layout(config))),
            "task": Out(stream.Signature(array_task(config))),
            "shift": In(stream.Signature(data.ArrayLayout(8, config.lanes))),
            "probability_done": In(1),
            "waiting_softmax": Out(1),
        })

    @staticmethod
    def model(config, fields, state, shifts):
        """The commands and tasks of one ATTEND: lists of dicts by port name.

        Parameters
        ----------
        fields : dict of the instruction, as `isa.decode` returns it
        state : dict of `PassState`
        shifts : iterator of what the softmax unit says, a list [T] a page

        The fields of a lane outside the mask are not meaningful.
        """
        blocks, group, tokens = fields["head_blocks"], fields["group"], state["tokens"]
        pages = (state["position"] + tokens - 1) // PAGE_TOKENS + 1
        out = {name: [] for name in ("softmax", "decoder", "quantiser", "chain", "task")}
        for kv_head in range(fields["kv_heads"]):
            for number in range(-(-tokens * group // config.lanes)):
                turn, phase = divmod(number, config.phases)
                phases = {"first_phase": phase, "last_phase": phase}
                pairs = range(number * config.lanes, (number + 1) * config.lanes)
                token = [min(n // group, tokens) for n in pairs]
                mask = sum((t < tokens) << lane for lane, t in enumerate(token))
                info = {"head_blocks": blocks, "lane_token": [t % config.seats for t in token],
                        "lane_head": [(kv_head * group + n % group) % 256 for n in pairs]}
                seats = {"mask": mask << phase * config.lanes} | phases
                out["softmax"].append({
                    "scale": fields["softmax_scale"], "pages": pages, "head_blocks": blocks, "mask": mask,
                    "positions": [state["position"] + t for t in token]})
                for page in range(pages + 1):  # keys of a page, then values of the page before
                    if page < pages:
                        probability = config.operand_blocks + page % 2 * config.max_head_blocks
                        out["decoder"].append({
                            "kind": WeightKind.KEY.value, "tiles": 1, "kblocks": blocks, "code_bits8": 1,
                            "scale_format": ScaleFormat.E8M0.value, "minimum": 0})
                        out["quantiser"].append({
                            "source": 1, "blocks": blocks, "kv8": 0, **seats,
                            "info": info | {"dest": QuantDest.PROBABILITY.value, "dst": probability}})
                        out["task"].append({
                            "address": fields["src"] + (kv_head * group + turn) * blocks, "kblocks": blocks, **phases,
                            "tile": config.max_head_blocks, "clear": 1, "rescale": 0, "drain": 1, "tag": 1})
                    if page:
                        last = page == pages
                        probability = config.operand_blocks + (page - 1) % 2 * config.max_head_blocks
                        out["decoder"].append({"kind": WeightKind.VALUE.value, "tiles": blocks, "kblocks": 1})
                        if last:
                            out["quantiser"].append({
                                "source": 0, "blocks": blocks, "kv8": 0, **seats,
                                "info": info | {"dest": QuantDest.ATTENTION.value, "dst": fields["dst"]}})
                            out["chain"].append({
                                "source": 0, "rows": blocks * TILE_ROWS, "bias": 0, "mode": 0, **seats,
                                "lane_scale": LaneScale.ATTENTION.value, "residual_add": 0, "residual_store": 0,
                                "norm": 0, "logits": 0})
                        shift = next(shifts)
                        out["task"] += [{
                            "address": probability + part, "kblocks": 1, "tile": part, **phases,
                            "clear": int(page == 1), "rescale": int(page > 1), "drain": int(last), "tag": 0,
                            "shift": shift} for part in range(blocks)]
        return out

    def elaborate(self, platform):
        m = Module()
        config, state, word = self.config, self.state, self.i.payload
        lanes = config.lanes

        src = field(word, Opcode.ATTEND, "src")
        dst = field(word, Opcode.ATTEND, "dst")
        group = field(word, Opcode.ATTEND, "group")
        blocks = field(word, Opcode.ATTEND, "head_blocks")
        kv_heads = field(word, Opcode.ATTEND, "kv_heads")

        # Who sits in which lane: filled one lane a cycle, counting pairs (token, head in the group).
        lane = Signal(range(lanes))
        token = Signal(range(config.seats + 1))
        phase = Signal(range(config.phases))  # of this pass's queries and probabilities
        in_group = Signal(8)
        kv_head = Signal(8)
        first_head = Signal(8)  # the absolute number of the KV head's first query head
        lane_token = Signal(data.ArrayLayout(range(max(2, config.seats)), lanes))
        lane_head = Signal(data.ArrayLayout(8, lanes))
        positions = Signal(data.ArrayLayout(24, lanes))
        mask = Signal(lanes)

        pages = Signal(24)
        key_page = Signal(24)
        value_page = Signal(24)
        part = Signal(4)
        query = Signal(12)  # operand address of this pass's query blocks
        last_value = Signal()
        ready_pages = Signal(2)  # pages whose probability blocks are in the operand buffer
        used_page = Signal()
        m.d.comb += [
            pages.eq(((state.position + state.tokens - 1) >> PAGE_SHIFT) + 1),
            last_value.eq(value_page + 1 == pages),
        ]
        with m.If(self.probability_done & ~used_page):
            m.d.sync += ready_pages.eq(ready_pages + 1)
        with m.If(~self.probability_done & used_page):
            m.d.sync += ready_pages.eq(ready_pages - 1)

        def probability_blocks(page):
            return config.operand_blocks + page[0] * config.max_head_blocks

        m.d.comb += [
            self.softmax.p.scale.eq(field(word, Opcode.ATTEND, "softmax_scale")),
            self.softmax.p.pages.eq(pages),
            self.softmax.p.head_blocks.eq(blocks),
            self.softmax.p.positions.eq(positions),
            self.softmax.p.mask.eq(mask),
            self.chain.p.rows.eq(blocks * TILE_ROWS),
            self.chain.p.mask.eq(mask << phase * lanes),
            self.chain.p.first_phase.eq(phase),
            self.chain.p.last_phase.eq(phase),
            self.task.p.first_phase.eq(phase),
            self.task.p.last_phase.eq(phase),
            self.chain.p.lane_scale.eq(LaneScale.ATTENTION),
            self.quantiser.p.blocks.eq(blocks),
            self.quantiser.p.mask.eq(mask << phase * lanes),
            self.quantiser.p.first_phase.eq(phase),
            self.quantiser.p.last_phase.eq(phase),
            self.quantiser.p.info.head_blocks.eq(blocks),
            self.quantiser.p.info.lane_token.eq(lane_token),
            self.quantiser.p.info.lane_head.eq(lane_head),
        ]

        with m.FSM():
            with m.State("idle"):
                m.d.sync += [kv_head.eq(0), first_head.eq(0), token.eq(0), in_group.eq(0), lane.eq(0), phase.eq(0),
                             query.eq(src)]
                with m.If(self.i.valid):
                    m.next = "seat"
            with m.State("seat"):
                m.d.sync += [
                    lane_token[lane].eq(token),
                    lane_head[lane].eq(first_head + in_group),
                    positions[lane].eq(state.position + token),
                    mask.bit_select(lane, 1).eq(token < state.tokens),
                    lane.eq(lane + 1),
                ]
                with m.If(token < state.tokens):
                    with m.If(in_group + 1 == group):
                        m.d.sync += [in_group.eq(0), token.eq(token + 1)]
                    with m.Else():
                        m.d.sync += in_group.eq(in_group + 1)
                with m.If(lane == lanes - 1):
                    m.d.sync += lane.eq(0)
                    m.next = "open"
            with m.State("open"):
                m.d.comb += self.softmax.valid.eq(1)
                m.d.sync += [key_page.eq(0), value_page.eq(0), part.eq(0)]
                with m.If(self.softmax.ready):
                    m.next = "keys"
            with m.State("keys"):
                m.d.comb += [
                    self.decoder.valid.eq(1),
                    self.decoder.p.kind.eq(WeightKind.KEY),
                    self.decoder.p.code_bits8.eq(1),
                    self.decoder.p.minimum.eq(0),
                    self.decoder.p.tiles.eq(1),
                    self.decoder.p.kblocks.eq(blocks),
                    self.decoder.p.scale_format.eq(ScaleFormat.E8M0.value),
                ]
                with m.If(self.decoder.ready):
                    m.next = "probability"
            with m.State("probability"):
                m.d.comb += [
                    self.quantiser.valid.eq(1),
                    self.quantiser.p.source.eq(1),
                    self.quantiser.p.info.dest.eq(QuantDest.PROBABILITY),
                    self.quantiser.p.info.dst.eq(probability_blocks(key_page)),
                ]
                with m.If(self.quantiser.ready):
                    m.next = "score"
            with m.State("score"):
                m.d.comb += [
                    self.task.valid.eq(1),
                    self.task.p.address.eq(query),
                    # Not a tile of the head's: between a page's values and the next one's, those hold the sums.
                    self.task.p.tile.eq(config.max_head_blocks),
                    self.task.p.kblocks.eq(blocks),
                    self.task.p.clear.eq(1),
                    self.task.p.drain.eq(1),
                    self.task.p.tag.eq(1),
                ]
                with m.If(self.task.ready):
                    m.d.sync += key_page.eq(key_page + 1)
                    with m.If((key_page == 0) & (pages != 1)):
                        m.next = "keys"
                    with m.Else():
                        m.next = "values"
            with m.State("values"):
                m.d.comb += [
                    self.decoder.valid.eq(1),
                    self.decoder.p.kind.eq(WeightKind.VALUE),
                    self.decoder.p.code_bits8.eq(1),
                    self.decoder.p.tiles.eq(blocks),
                    self.decoder.p.kblocks.eq(1),
                ]
                with m.If(self.decoder.ready):
                    with m.If(last_value):
                        m.next = "output"
                    with m.Else():
                        m.next = "weigh"
            with m.State("output"):
                m.d.comb += [
                    self.quantiser.valid.eq(1),
                    self.quantiser.p.kv8.eq(0),
                    self.quantiser.p.info.group.eq(0),
                    self.quantiser.p.info.dest.eq(QuantDest.ATTENTION),
                    self.quantiser.p.info.dst.eq(dst),
                ]
                with m.If(self.quantiser.ready):
                    m.next = "finish"
            with m.State("finish"):
                m.d.comb += self.chain.valid.eq(1)
                with m.If(self.chain.ready):
                    m.next = "weigh"
            with m.State("weigh"):
                m.d.comb += [
                    self.task.valid.eq(self.shift.valid & (ready_pages != 0)),
                    self.waiting_softmax.eq(~self.task.valid),
                    self.task.p.address.eq(probability_blocks(value_page) + part),
                    self.task.p.kblocks.eq(1),
                    self.task.p.tile.eq(part),
                    self.task.p.clear.eq(value_page == 0),
                    self.task.p.rescale.eq(value_page != 0),
                    self.task.p.drain.eq(last_value),
                    self.task.p.shift.eq(self.shift.payload),
                ]
                with m.If(self.task.valid & self.task.ready):
                    m.d.sync += part.eq(part + 1)
                    with m.If(part + 1 == blocks):
                        m.d.comb += [self.shift.ready.eq(1), used_page.eq(1)]
                        m.d.sync += [part.eq(0), value_page.eq(value_page + 1)]
                        with m.If(last_value):
                            m.next = "next"
                        with m.Elif(key_page < pages):
                            m.next = "keys"
                        with m.Else():
                            m.next = "values"
            with m.State("next"):
                m.d.sync += phase.eq(phase + 1)
                with m.If(phase == config.phases - 1):
                    m.d.sync += query.eq(query + blocks)
                with m.If(token < state.tokens):
                    m.next = "seat"
                with m.Elif(kv_head + 1 < kv_heads):
                    # The next KV head's queries begin where a full set of `group` passes would end.
                    m.d.sync += [
                        kv_head.eq(kv_head + 1), first_head.eq(first_head + group), token.eq(0), in_group.eq(0),
                        phase.eq(0), query.eq(src + (first_head + group) * blocks),
                    ]
                    m.next = "seat"
                with m.Else():
                    m.d.comb += self.i.ready.eq(1)
                    m.next = "idle"
        return m
