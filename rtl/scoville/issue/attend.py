"""ATTEND: attention as a run of key, value and softmax work."""

from itertools import cycle

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from scoville.array.operand import credit_bits, operand_depth
from scoville.checks import check, check_fifo, check_stream
from scoville.config import TILE_ROWS, VALUES_BEHIND
from scoville.epilogue.chain import LaneScale
from scoville.epilogue.router import QuantDest
from scoville.isa import PAGE_BITS, POSITION_BITS, Opcode, ScaleFormat, width
from scoville.issue.commands import issuer
from scoville.masks import first_of, last_of
from scoville.program.plan_attend import AttendPlan
from scoville.program.spread import pass_places, places, runs
from scoville.schedule.seats import PAGE_SHIFT
from scoville.weights.walk import WeightKind

__all__ = ["AttendIssuer"]

COMMANDS = ("softmax", "decoder", "quantiser", "chain")


class AttendIssuer(wiring.Component):
    """Does what an `AttendPlan` says: the scores of a page's keys, or the weighing of a page's values.

    The seats of a pass are filled with (token, query head) pairs, one a cycle; those of the pass's run are in its mask.
    Scores may be guarded: those of a KV head then wait for its group's queries.

    Throughput: S + 1 cycles a pass, two more a run where there are several, 7 a page and one a block of the head, all
    in the shadow of the array's work.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    op : In(OPERATION), stable from the cycle of `start` to that of `over`
    state : In(PassState), from the cycle before on
    start : In(1); over : Out(1), the last task is taken
    decoder, chain, quantiser, softmax : Out(stream), commands
    task : Out(stream), to the array
    shift : In(stream), from the softmax unit, one item a page
    probability_done : In(1)
    guard : In(1), scores wait for their queries; `need` : In, the operand blocks promised before those; both stable
        from the cycle behind `start` on
    blocks : Out, what it writes, with `over`
    waiting_softmax : Out(1)
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "shift": In(stream.Signature(data.ArrayLayout(8, config.seats))),
            "probability_done": In(1),
            "guard": In(1),
            "need": In(credit_bits(config)),
            "blocks": Out(width(Opcode.ATTEND, "dst")),
            "waiting_softmax": Out(1),
        } | issuer(config, *COMMANDS, "task"))

    @staticmethod
    def model(config, fields, state, shifts, guard=None):
        """The commands and tasks of one ATTEND: lists of dicts by port name.

        Parameters
        ----------
        fields : dict of the instruction, as `isa.decode` returns it
        state : dict of `PassState`
        shifts : iterator of what the softmax unit says, a list [seats] a page
        guard : the operand blocks promised before the queries, or None if nothing has to wait for them

        The fields of a seat outside the mask are not meaningful.
        """
        blocks, group, tokens = fields["head_blocks"], fields["group"], state["tokens"]
        steps, passes = AttendPlan.model(config, fields, state)
        several = len(runs(state)) > 1
        room, turns = places(config, group, several), places(config, group)
        out = {name: [] for name in (*COMMANDS, "task")}
        behind = []  # pages whose values are due

        def values():
            page, last, slot, phases, seats, info = behind.pop(0)
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
                "address": slot + part, "kblocks": 1, "tile": part, **phases, "clear": int(page == 0),
                "rescale": int(page > 0), "drain": int(last), "tag": 0, "guard": 0, "shift": shift}
                for part in range(blocks)]

        slots = cycle(range(VALUES_BEHIND + 1))
        for step in steps:
            if step is None:
                values()
                continue
            kv_head, served, page = step
            pairs = [divmod(served.turn * config.seats + seat, room) for seat in range(config.seats)]
            token = [min(t, tokens) for t, _ in pairs]
            here = [seat for seat, (t, place) in enumerate(pairs) if served.first <= t <= served.last and place < group]
            mask = sum(1 << seat for seat in here)
            phases = {"first_phase": here[0] // config.lanes, "last_phase": here[-1] // config.lanes}
            info = {"head_blocks": blocks, "seat_token": [t % config.seats for t in token],
                    "seat_head": [(kv_head * group + place) % 256 for _, place in pairs],
                    "credit": group * blocks if served is passes[-1] else 0}
            seats = {"mask": mask} | phases
            slot = config.operand_blocks + next(slots) * config.max_head_blocks
            if page == 0:
                out["softmax"].append({
                    "scale": fields["softmax_scale"], "pages": served.pages, "head_blocks": blocks, "mask": mask,
                    "last_phase": phases["last_phase"],
                    "positions": [state["seats"][min(t, tokens - 1)]["position"] for t in token],
                } | ({"first_phase": phases["first_phase"]} if config.slots > 1 else {}))
            out["decoder"].append({
                "kind": WeightKind.KEY.value, "tiles": 1, "kblocks": blocks, "code_bits8": 1,
                "scale_format": ScaleFormat.E8M0.value, "minimum": 0, "high_bits": 0})
            out["quantiser"].append({
                "source": 1, "blocks": blocks, "kv8": 0, **seats,
                "info": info | {"dest": QuantDest.PROBABILITY.value, "dst": slot}})
            need = {} if guard is None else {
                "need": (guard + (kv_head + 1) * group * blocks - blocks) % (1 << credit_bits(config))}
            out["task"].append({
                "address": fields["src"] + (kv_head * turns + served.turn) * blocks, "kblocks": blocks, "tag": 1,
                "guard": int(guard is not None), "tile": config.max_head_blocks, "clear": 1, "rescale": 0, "drain": 1,
            } | phases | need)
            behind.append((page, page == served.pages - 1, slot, phases, seats, info))
        return out

    def elaborate(self, platform):
        m = Module()
        config, state, op = self.config, self.state, self.op.attend
        seats, several = config.seats, config.slots > 1
        src, dst, group, blocks, kv_heads = op.src, op.dst, op.group, op.head_blocks, op.kv_heads

        # Who has which seat: filled one seat a cycle, counting pairs (token, head in the group), and a token's places
        # behind them.
        room = pass_places(m, config, state, group)
        seat = Signal(range(seats))
        token, turn_token = (Signal(range(config.seats + 1), name=name) for name in ("token", "turn_token"))
        first_phase, last_phase = (Signal(range(config.phases), name=name) for name in ("first_phase", "last_phase"))
        in_group = Signal(len(group))
        first_head = Signal(8)  # the absolute number of the KV head's first query head
        seat_token = Signal(data.ArrayLayout(range(max(2, seats)), seats))
        seat_head = Signal(data.ArrayLayout(8, seats))
        positions = Signal(data.ArrayLayout(POSITION_BITS, seats))
        mask = Signal(seats)
        m.submodules.plan = plan = AttendPlan(config)
        step = plan.step
        if several:
            of_phase = Cat(mask.word_select(number, config.lanes).any() for number in range(config.phases))
            m.d.comb += first_phase.eq(first_of(of_phase))
        else:  # they are filled from the first on
            of_phase = Cat(mask[number * config.lanes] for number in range(config.phases))
        m.d.comb += last_phase.eq(last_of(of_phase))
        pages = Signal(PAGE_BITS, reset_less=True)  # the pass state stands still, long before it is wanted here
        part = Signal(len(blocks))
        query = Signal(len(src))  # operand address of this pass's query blocks
        head_query = Signal(len(src), reset_less=True)  # and of the KV head's first ones
        need = Signal(credit_bits(config))  # what the scores of this KV head wait for
        new_head = Signal()  # but for the blocks of the head itself
        slot, value_slot = Signal(range(VALUES_BEHIND + 1)), Signal(range(VALUES_BEHIND + 1))
        ready_pages = Signal(range(VALUES_BEHIND + 2))  # pages whose probability blocks are in the operand buffer
        used_page = Signal()
        last = Signal(range(seats))  # seat of the run
        m.d.comb += last.eq(step.p.last_seat if several else state.tokens - 1)
        kv_blocks = Signal(credit_bits(config), reset_less=True)  # query blocks of a KV head
        stride = kv_blocks  # from its queries to the next one's
        if several:
            stride = Signal.like(query, name="stride", reset_less=True)
            m.d.sync += stride.eq(places(config, group) * blocks)
        m.d.sync += [
            pages.eq((state.seats[last].position >> PAGE_SHIFT) + 1),
            kv_blocks.eq(group * blocks),
            self.blocks.eq(kv_heads * kv_blocks),
        ]
        m.d.comb += [plan.op.eq(self.op), plan.state.eq(state), plan.start.eq(self.start)]
        with m.If(self.probability_done & ~used_page):
            m.d.sync += ready_pages.eq(ready_pages + 1)
        with m.If(~self.probability_done & used_page):
            m.d.sync += ready_pages.eq(ready_pages - 1)

        # The pages whose values are due, with all that their commands need.
        unit_layout = data.StructLayout({
            "first": 1, "last": 1, "last_pass": 1, "last_phase": range(config.phases), "mask": seats,
            "seat_token": seat_token.shape(), "seat_head": seat_head.shape(),
        } | ({"first_phase": range(config.phases)} if several else {}))
        m.submodules.behind = behind = SyncFIFO(width=unit_layout.size, depth=VALUES_BEHIND + 1)
        ours, due = Signal(unit_layout), data.View(unit_layout, behind.r_data)
        m.d.comb += [
            ours.first.eq(step.p.first), ours.last.eq(step.p.last), ours.last_pass.eq(step.p.last_pass),
            ours.last_phase.eq(last_phase),
            ours.mask.eq(mask), ours.seat_token.eq(seat_token), ours.seat_head.eq(seat_head),
            behind.w_data.eq(ours),
        ]
        now = Signal(unit_layout)  # the page that the commands are about
        keys = Signal()
        m.d.comb += now.eq(Mux(keys, ours.as_value(), due.as_value()))

        def probability_blocks(slot):
            return config.operand_blocks + slot * config.max_head_blocks

        m.d.comb += [
            self.softmax.p.scale.eq(op.softmax_scale),
            self.softmax.p.pages.eq(pages),
            self.softmax.p.head_blocks.eq(blocks),
            self.softmax.p.positions.eq(positions),
            self.softmax.p.mask.eq(mask),
            self.softmax.p.last_phase.eq(last_phase),
            self.chain.p.rows.eq(blocks * TILE_ROWS),
            self.chain.p.lane_scale.eq(LaneScale.ATTENTION),
            self.quantiser.p.blocks.eq(blocks),
            self.quantiser.p.info.head_blocks.eq(blocks),
            self.quantiser.p.info.seat_token.eq(now.seat_token),
            self.quantiser.p.info.seat_head.eq(now.seat_head),
            self.quantiser.p.info.credit.eq(Mux(now.last_pass, kv_blocks, 0)),
        ]
        for command in (self.chain.p, self.quantiser.p):
            m.d.comb += command.mask.eq(now.mask)
        for command in (self.chain.p, self.quantiser.p, self.task.p):
            m.d.comb += command.last_phase.eq(now.last_phase)
        in_run = token < state.tokens
        if several:
            m.d.comb += [ours.first_phase.eq(first_phase), self.softmax.p.first_phase.eq(first_phase)]
            for command in (self.chain.p, self.quantiser.p, self.task.p):
                m.d.comb += command.first_phase.eq(now.first_phase)
            in_run = (token >= step.p.first_seat) & (token <= step.p.last_seat) & (in_group < group)

        with m.FSM():
            with m.State("idle"):
                m.d.sync += [
                    first_head.eq(0), token.eq(0), turn_token.eq(0), in_group.eq(0), seat.eq(0), query.eq(src),
                    head_query.eq(src), part.eq(0), slot.eq(0), value_slot.eq(0),
                    new_head.eq(1),
                ]
                with m.If(self.start):
                    m.next = "begin"
            with m.State("begin"):
                m.d.sync += need.eq(self.need - blocks)
                with m.If(step.valid):
                    m.next = "seat"
            with m.State("seat"):
                m.d.sync += [
                    seat_token[seat].eq(token),
                    seat_head[seat].eq(first_head + in_group),
                    positions[seat].eq(state.seats[token[:len(last)]].position),
                    mask.bit_select(seat, 1).eq(in_run),
                    seat.eq(seat + 1),
                ]
                with m.If(token < state.tokens):
                    with m.If(in_group + 1 == room):
                        m.d.sync += [in_group.eq(0), token.eq(token + 1)]
                    with m.Else():
                        m.d.sync += in_group.eq(in_group + 1)
                with m.If(seat == seats - 1):
                    m.d.sync += seat.eq(0)
                    m.next = "open"
            with m.State("open"):
                m.d.comb += self.softmax.valid.eq(1)
                with m.If(self.softmax.ready):
                    m.d.sync += new_head.eq(0)
                    with m.If(new_head):
                        m.d.sync += need.eq(need + kv_blocks)
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
                    keys.eq(1),
                    self.quantiser.valid.eq(1),
                    self.quantiser.p.source.eq(1),
                    self.quantiser.p.info.dest.eq(QuantDest.PROBABILITY),
                    self.quantiser.p.info.dst.eq(probability_blocks(slot)),
                ]
                with m.If(self.quantiser.ready):
                    m.next = "score"
            with m.State("score"):
                m.d.comb += [
                    keys.eq(1),
                    self.task.valid.eq(1),
                    self.task.p.address.eq(query),
                    # Not a tile of the head's: between a page's values and the next one's, those hold the sums.
                    self.task.p.tile.eq(config.max_head_blocks),
                    self.task.p.kblocks.eq(blocks),
                    self.task.p.clear.eq(1),
                    self.task.p.drain.eq(1),
                    self.task.p.tag.eq(1),
                    self.task.p.guard.eq(self.guard),
                    self.task.p.need.eq(need),
                ]
                with m.If(self.task.ready):
                    m.d.comb += [behind.w_en.eq(1), step.ready.eq(1)]
                    m.d.sync += slot.eq(slot + 1)
                    with m.If(step.p.last):
                        m.d.sync += [query.eq(query + blocks), turn_token.eq(token)]
                        if several:
                            with m.If(step.p.again):  # its first seat is a token's first head
                                m.d.sync += [query.eq(query), turn_token.eq(turn_token), token.eq(turn_token),
                                             in_group.eq(0)]
                        with m.If(step.p.last_pass):
                            # The next KV head's queries begin where a full set of turns would end.
                            m.d.sync += [
                                first_head.eq(first_head + group), token.eq(0), turn_token.eq(0), in_group.eq(0),
                                query.eq(head_query + stride), head_query.eq(head_query + stride),
                                new_head.eq(1),
                            ]
                    m.next = "behind"
            with m.State("behind"):
                with m.If(plan.over):
                    m.d.comb += self.over.eq(1)
                    m.next = "idle"
                with m.Elif(step.valid):
                    with m.If(step.p.value):
                        m.next = "values"
                    with m.Elif(step.p.first):
                        m.next = "seat"
                    with m.Else():
                        m.next = "keys"
            with m.State("values"):
                m.d.comb += [
                    self.decoder.valid.eq(1),
                    self.decoder.p.kind.eq(WeightKind.VALUE),
                    self.decoder.p.code_bits8.eq(1),
                    self.decoder.p.tiles.eq(blocks),
                    self.decoder.p.kblocks.eq(1),
                ]
                with m.If(self.decoder.ready):
                    with m.If(due.last):
                        m.next = "output"
                    with m.Else():
                        m.next = "weigh"
            with m.State("output"):
                m.d.comb += [
                    self.quantiser.valid.eq(1),
                    self.quantiser.p.kv8.eq(0),
                    self.quantiser.p.half.eq(0),
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
                    self.task.p.address.eq(probability_blocks(value_slot) + part),
                    self.task.p.kblocks.eq(1),
                    self.task.p.tile.eq(part),
                    self.task.p.clear.eq(due.first),
                    self.task.p.rescale.eq(~due.first),
                    self.task.p.drain.eq(due.last),
                    self.task.p.shift.eq(self.shift.payload),
                ]
                with m.If(self.task.valid & self.task.ready):
                    m.d.sync += part.eq(part + 1)
                    with m.If(part + 1 == blocks):
                        m.d.comb += [self.shift.ready.eq(1), used_page.eq(1), behind.r_en.eq(1), step.ready.eq(1)]
                        m.d.sync += [part.eq(0), value_slot.eq(value_slot + 1)]
                        m.next = "behind"

        check(m, ~self.softmax.valid | mask.any(), "attend: a pass serves somebody")
        check(m, ~used_page | (ready_pages != 0), "attend: values are weighed by probabilities that are written")
        check(m, ~(self.probability_done & ~used_page) | (ready_pages != VALUES_BEHIND + 1),
              "attend: pages of probabilities have room")
        check(m, ~self.task.valid | (self.task.p.address < operand_depth(config)), "attend: the blocks are there")
        check(m, ~self.over | (ready_pages == 0), "attend: every page's values are weighed at the end")
        check_fifo(m, behind, "attend: pages whose values are due")
        for name in (*COMMANDS, "task"):
            check_stream(m, getattr(self, name), f"attend: {name}")
        return m
