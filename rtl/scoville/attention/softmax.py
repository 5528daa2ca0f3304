"""Online softmax: pages of scores into probabilities, with an integer running maximum."""

import numpy as np
from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, fifo, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from scoville.array.drain import drain_row
from scoville.attention.denominator import FRACTION_BITS, SUM_BITS, Denominator
from scoville.checks import check, check_fifo, check_stream
from scoville.config import BLOCK, PAGE_TOKENS, VALUES_BEHIND
from scoville.isa import PAGE_BITS, POSITION_BITS
from scoville.numerics import fp32, table
from scoville.numerics.pipe import Pipe
from scoville.slices import Skid

__all__ = ["Softmax", "model", "softmax_command_layout"]

Z_FRACTION, Z_BITS = 24, 40  # a score in base 2, fixed point
MAX_BITS = Z_BITS - Z_FRACTION  # its integer part, signed
LOWEST = -1 << (MAX_BITS - 1)
SLOTS = 2  # pages of scores held: one being filled, one being read


def softmax_command_layout(config):
    """One pass over the pages of a KV head; `positions` is the last token that each seat sees.

    The scores of a page come for phase `first_phase` (0 if there is but one slot), the next, … to `last_phase`.
    """
    return data.StructLayout({
        "scale": 32, "pages": PAGE_BITS, "head_blocks": 4,
        "positions": data.ArrayLayout(POSITION_BITS, config.seats), "mask": config.seats,
        "last_phase": range(config.phases),
    } | ({"first_phase": range(config.phases)} if config.slots > 1 else {}))


def model(scores, positions, ev8, c):
    """What `Softmax` computes for one command, for any number of lanes (or lanes and heads) at once.

    Parameters
    ----------
    scores : float32 ``[pages, 32, ...]``
    positions : int ``[...]``, the last valid token of each lane; at least 0.
    ev8 : uint8 ``[pages, B, 32, ...]``, exponent bytes of V; the lane axes may be missing or of size 1.
    c : float32, log2(e) / sqrt(head size)

    Returns
    -------
    probabilities float32 ``[pages, B, 32, ...]``, shifts int64 ``[pages, ...]``, factor (1/l) float32 ``[...]``
    """
    scores = np.asarray(scores, np.float32)
    pages, lanes = len(scores), scores.shape[2:]
    tail = (1,) * len(lanes)
    ev8 = np.asarray(ev8)
    ev8 = ev8.reshape(ev8.shape + (1,) * (scores.ndim + 1 - ev8.ndim))
    z = fp32.model.to_fixed(fp32.model.mul(scores, np.float32(c)), Z_FRACTION, Z_BITS)
    valid = np.arange(pages * PAGE_TOKENS).reshape(pages, PAGE_TOKENS, *tail) <= np.asarray(positions)
    maxima = np.maximum.accumulate(np.where(valid, z >> Z_FRACTION, LOWEST).max(1), axis=0)
    shifts = np.minimum(np.diff(maxima, axis=0, prepend=maxima[:1]), 255)
    x = np.where(valid, z - (maxima[:, None] << Z_FRACTION), 0)
    p = np.where(valid, table.model.exp2_fixed(x), np.float32(0))
    sums = np.floor(p.astype(np.float64) * 2.0**FRACTION_BITS).astype(np.int64).sum(1)
    return fp32.model.scale2(p[:, None], ev8.astype(np.int64) - 127), shifts, Denominator.model(sums, shifts)


class Softmax(wiring.Component):
    """Probabilities of a page at a time, all seats in lockstep; the equations are in docs/design.md, *Attention*.

        scores -> *c -> fixed -> z memory -> 2^(z - M) -> p memory -> * 2^(V exponent) -> o
                           `-> page maximum -> M ---'  `-> page sum -> Denominator -> factor

    The first V block's output leaves as the exponentials are computed, the others come from the p memory. The scores of
    the next page (or command) are taken meanwhile.

    Throughput: a page in ``32 * head_blocks + 1`` cycles, but two pages of one block in 73: z memory slots are
    free too late. Latency: 20 cycles from the last score of a page to its first output.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    command : In(stream), `softmax_command_layout`; the first page has a valid token for every lane of `mask`.
        Seats outside `mask` have anything as probability, shift and factor.
    i : In(stream), `drain_row`; 32 rows a page and phase. The tag is not looked at.
    exponents : In(stream of bus_bits); a page's V exponents, block-major then token, padded to the bus.
    o : Out(stream of seats x FP32); a page is `head_blocks` times 32 tokens.
    shift : Out(stream of seats x 8), once a page: how far the accumulators are to be scaled down.
    factor : Out(stream of seats x FP32), 1/l once a command
    busy : Out(1)
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "command": In(stream.Signature(softmax_command_layout(config))),
            "i": In(stream.Signature(drain_row(config))),
            "exponents": In(stream.Signature(config.bus_bits)),
            "o": Out(stream.Signature(data.ArrayLayout(32, config.seats))),
            "shift": Out(stream.Signature(data.ArrayLayout(8, config.seats))),
            "factor": Out(stream.Signature(data.ArrayLayout(32, config.seats))),
            "busy": Out(1),
        })

    model = staticmethod(model)

    def elaborate(self, platform):
        m = Module()
        seats = self.config.seats
        # The maxima of a page whose scores are all in the z memory, and where it stands in its command.
        self._page = data.StructLayout({
            "maxima": data.ArrayLayout(signed(MAX_BITS), seats), "shifts": data.ArrayLayout(8, seats),
            "head_blocks": 4, "first": 1, "last": 1})
        z_shape = data.ArrayLayout(data.StructLayout({"z": signed(Z_BITS), "valid": 1}), seats)
        m.submodules.scores = scores = memory.Memory(shape=z_shape, depth=SLOTS * PAGE_TOKENS, init=[])
        m.submodules.pages = pages = fifo.SyncFIFOBuffered(width=self._page.size, depth=SLOTS)
        m.submodules.denominator = denominator = Denominator(self.config)

        m.submodules.skid = skid = Skid(self.o.payload.shape())
        wiring.connect(m, skid.o, wiring.flipped(self.o))

        start, release, leave = Signal(), Signal(), Signal()  # a page's first score; its last z read; its last output
        active = self._take_scores(m, scores, pages, start, release)
        self._give_probabilities(m, scores, pages, denominator, skid, release, leave)

        held = Signal(range(2 * SLOTS + 2))
        m.d.sync += held.eq(held + start - leave)
        wiring.connect(m, wiring.flipped(self.factor), denominator.factor)
        m.d.comb += self.busy.eq(active | (held != 0) | denominator.busy | self.shift.valid | skid.full)

        check_fifo(m, pages, "softmax: pages")
        check(m, ~leave | (held != 0), "softmax: a page that leaves has come")
        check(m, ~start | (held != 2 * SLOTS + 1), "softmax: pages inside are counted")
        check_stream(m, self.o, "softmax: o")
        return m

    def _take_scores(self, m, scores, pages, start, release):
        """Scores to fixed point, and the maximum of each page. Returns whether a command is in progress."""
        config, lanes = self.config, self.config.lanes
        command = Signal(softmax_command_layout(self.config), reset_less=True)
        first_phase = command.first_phase if config.slots > 1 else 0
        active = Signal()
        page = Signal(PAGE_BITS)
        count = Signal(5)  # rows of the page and phase taken
        phase = Signal(range(config.phases))
        slot = Signal(exact_log2(SLOTS))
        used = Signal(range(SLOTS + 1))
        taken, first_row, last_row, last_page = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            self.command.ready.eq(~active),
            first_row.eq((count == 0) & (phase == first_phase)),
            last_row.eq((count == PAGE_TOKENS - 1) & (phase == command.last_phase)),
            last_page.eq(page == command.pages - 1),
            self.i.ready.eq(active & (~first_row | (used != SLOTS))),
            taken.eq(self.i.valid & self.i.ready),
            start.eq(taken & first_row),
        ]
        m.d.sync += used.eq(used + start - release)
        check(m, ~start | (used != SLOTS), "softmax: a page begins in a free slot")
        check(m, ~release | (used != 0), "softmax: a slot that is read is in use")
        with m.If(taken):
            m.d.sync += count.eq(count + 1)
            with m.If(count == PAGE_TOKENS - 1):
                m.d.sync += phase.eq(phase + 1)
            with m.If(last_row):
                m.d.sync += [phase.eq(first_phase), page.eq(page + 1), slot.eq(slot + 1), active.eq(~last_page)]
        with m.If(self.command.valid & self.command.ready):
            m.d.sync += [command.eq(self.command.payload), page.eq(0),
                         active.eq(self.command.payload.pages != 0)]
            if config.slots > 1:
                m.d.sync += phase.eq(self.command.payload.first_phase)

        pipe = Pipe(m, occupied=Signal(name="occupied"))
        place = pipe.input(Cat(self.i.payload.row, slot))
        token = Cat(self.i.payload.row, page)[:POSITION_BITS]
        flags = pipe.input(Cat(count == 0, last_row, page == 0, last_page, command.head_blocks))
        zs, valids = [], []
        for lane in range(lanes):
            y = fp32.mul(pipe, pipe.input(self.i.payload["values"][lane]), pipe.input(command.scale))
            zs.append(fp32.to_fixed(pipe, y, Z_FRACTION, Z_BITS))
            mask, position = Signal(name=f"mask{lane}"), Signal(POSITION_BITS, name=f"position{lane}")
            m.d.comb += [
                mask.eq(Array(command.mask[lane::lanes])[phase]),
                position.eq(Array(command.positions[lane + number * lanes] for number in range(config.phases))[phase]),
            ]
            valids.append(pipe.reg(mask & (token <= position), 0))
        at = zs[0].at
        write = scores.write_port(granularity=lanes)
        here = pipe.occupy(taken, at + 2)[at - 1]
        chosen = Signal(config.phases)  # whose scores have come
        m.d.comb += [
            chosen.eq(Mux(here, 1 << pipe.delay(pipe.input(phase), at), 0)),
            write.addr.eq(pipe.delay(place, at)),
            write.en.eq(chosen),
        ]

        row_is_first = pipe.delay(flags, at)[0]
        last_comes = pipe.valid(here & pipe.delay(flags, at)[1], 1)
        page_is_first = pipe.delay(flags, at + 1)[2]
        written = data.View(self._page, pages.w_data)
        for seat in range(config.seats):
            lane, mine = seat % lanes, chosen[seat // lanes]
            z = zs[lane].value
            valid = pipe.delay(valids[lane], at)
            highest = Signal(signed(MAX_BITS), reset_less=True)  # of the page so far
            maximum = Signal(signed(MAX_BITS), reset_less=True)  # of the command so far
            step = Signal(MAX_BITS, reset_less=True)
            candidate, before = (Signal(signed(MAX_BITS), name=name) for name in ("candidate", "before"))
            rise = Signal(signed(MAX_BITS + 1))
            m.d.comb += [
                write.data[seat].z.eq(z),
                write.data[seat].valid.eq(valid),
                candidate.eq(Mux(valid, z[Z_FRACTION:].as_signed(), LOWEST)),
                before.eq(Mux(page_is_first, LOWEST, maximum)),
                rise.eq(highest - before),
                written.maxima[seat].eq(maximum),
                written.shifts[seat].eq(Mux(step > 255, 255, step)),
            ]
            with m.If(mine):
                m.d.sync += highest.eq(Mux(row_is_first | (candidate > highest), candidate, highest))
            with m.If(last_comes):
                m.d.sync += [maximum.eq(Mux(rise < 0, before, highest)),
                             step.eq(Mux(page_is_first | (rise < 0), 0, rise[:MAX_BITS]))]
        _, _, first, last, *head_blocks = pipe.delay(flags, at + 2)
        m.d.comb += [
            written.first.eq(first), written.last.eq(last), written.head_blocks.eq(Cat(head_blocks)),
            pages.w_en.eq(pipe.valid(last_comes, 1)),
        ]
        return active

    def _give_probabilities(self, m, scores, pages, denominator, skid, release, leave):
        """Exponentials, once for each V block scaled by its exponents; page sums to the denominator."""
        config = self.config
        seats = config.seats
        header_beats = -(-BLOCK * config.max_head_blocks // config.bus_bytes)
        room = (VALUES_BEHIND + 1) * header_beats
        m.submodules.exponents = exponents = fifo.SyncFIFOBuffered(width=config.bus_bits, depth=room)
        m.submodules.shifts = shifts = fifo.SyncFIFOBuffered(width=8 * seats, depth=VALUES_BEHIND + 1)
        # Whether there is room is a register: the decoder's walk moves on it. A FIFO of three words or more has room
        # for a word wherever it counts fewer.
        assert room > 2
        left, left_next = Signal(range(room + 1), init=room), Signal(range(room + 1))
        exponents_ready = Signal()
        m.d.sync += [left.eq(left_next), exponents_ready.eq(left_next != 0)]
        m.d.comb += [
            left_next.eq(left - exponents.w_en + (exponents.r_en & exponents.r_rdy)),
            exponents.w_data.eq(self.exponents.payload),
            exponents.w_en.eq(self.exponents.valid & exponents_ready),
            self.exponents.ready.eq(exponents_ready),
            self.shift.payload.eq(shifts.r_data), self.shift.valid.eq(shifts.r_rdy),
            shifts.r_en.eq(self.shift.valid & self.shift.ready),
        ]
        check_fifo(m, exponents, "softmax: exponents")
        check_fifo(m, shifts, "softmax: shifts")
        check(m, left + exponents.level == room, "softmax: room for exponents is counted")

        # Which block and token enters the pipe.
        page = Signal(self._page, reset_less=True)
        running = Signal()
        index = Signal(4 + 5)
        block, row = index[5:], index[:5]
        slot = Signal(exact_log2(SLOTS))
        enable, issue, load, last_row, last_block = Signal(), Signal(), Signal(), Signal(), Signal()
        last_byte = index[:exact_log2(config.bus_bytes)].all()
        m.d.comb += [
            last_row.eq(row == PAGE_TOKENS - 1),
            last_block.eq(block == page.head_blocks - 1),
            issue.eq(running & exponents.r_rdy & enable),
            load.eq(~running & pages.r_rdy & shifts.w_rdy),
            release.eq(issue & last_row & (block == 0)),
            exponents.r_en.eq(issue & (last_byte | last_row & last_block)),
            pages.r_en.eq(load),
            shifts.w_en.eq(load),
            shifts.w_data.eq(data.View(self._page, pages.r_data).shifts),
        ]
        with m.If(issue):
            m.d.sync += index.eq(index + 1)
            with m.If(last_row & last_block):
                m.d.sync += running.eq(0)
            with m.If(release):
                m.d.sync += slot.eq(slot + 1)
        with m.If(load):
            m.d.sync += [page.eq(pages.r_data), index.eq(0), running.eq(1)]

        # z and M to p.
        pipe = Pipe(m, enable, occupied=Signal(name="occupied"))
        read = scores.read_port()
        m.d.comb += [read.addr.eq(Cat(row, slot)), read.en.eq(enable)]
        maxima = pipe.reg(page.maxima, 0).value
        beat, byte = pipe.reg(exponents.r_data, 0), pipe.reg(index[:exact_log2(config.bus_bytes)], 0)
        exponent = pipe.input(beat.value.word_select(byte.value, 8), 1)
        fresh = []
        for seat in range(seats):
            x = read.data[seat].z - Cat(Const(0, Z_FRACTION), maxima[seat]).as_signed()
            assert len(x) <= 42  # what exp2_fixed takes
            p = table.exp2_fixed(pipe, pipe.reg(x, 1))
            valid = pipe.delay(pipe.input(read.data[seat].valid, at=1), p.at)
            fresh.append(Mux(valid, p.value, 0))
        at = p.at
        # A page's shifts and place are copied when its first token arrives, before the next page can be loaded.
        assert at < PAGE_TOKENS
        place = pipe.input(Cat(row, block == 0, last_row & last_block))
        token, is_fresh = pipe.delay(place, at)[:5], pipe.delay(place, at)[5]
        *_, here, out_valid = pipe.occupy(issue, at + 1)

        # Later blocks take p from memory.
        m.submodules.probabilities = kept = memory.Memory(shape=data.ArrayLayout(32, seats), depth=PAGE_TOKENS, init=[])
        store, recall = kept.write_port(), kept.read_port()
        m.d.comb += [
            store.addr.eq(token), store.data.eq(Cat(fresh)), store.en.eq(enable & here & is_fresh),
            recall.addr.eq(pipe.delay(place, at - 1)[:5]), recall.en.eq(pipe.moves),
        ]
        bias = pipe.input(pipe.delay(exponent, at) - 127, at=at)
        out_token, out_fresh, out_last = (pipe.delay(place, at + 1)[part] for part in (slice(5), 5, 6))
        add = enable & out_valid & out_fresh
        total = Signal(data.ArrayLayout(SUM_BITS, seats))
        running_sum = Signal(data.ArrayLayout(SUM_BITS, seats), reset_less=True)
        for seat in range(seats):
            p = pipe.input(Mux(is_fresh, fresh[seat], recall.data[seat]), at=at)
            m.d.comb += skid.i.payload[seat].eq(fp32.scale2(pipe, p, bias).value)
            term = pipe.reg(truncated(fresh[seat]), at).value
            m.d.comb += total[seat].eq(Mux(out_token == 0, 0, running_sum[seat]) + term)
        with m.If(add):
            m.d.sync += running_sum.eq(total)

        # The end of the first block gives its sums to the denominator in the same cycle in which it leaves.
        ends = pipe.valid(here & is_fresh & (token == PAGE_TOKENS - 1), 1)
        sums = denominator.i
        with m.If(enable & here & is_fresh & (token == 0)):
            shifts_now, first_now, last_now = (Signal.like(field, name=name, reset_less=True) for field, name in (
                (page.shifts.as_value(), "sum_shifts"), (page.first, "sum_first"), (page.last, "sum_last")))
            m.d.sync += [shifts_now.eq(page.shifts), first_now.eq(page.first), last_now.eq(page.last)]
        waits = Signal()
        m.d.comb += [
            waits.eq(ends & ~sums.ready),
            sums.valid.eq(ends & skid.i.ready),
            sums.payload.sums.eq(total), sums.payload.shifts.eq(shifts_now),
            sums.payload.first.eq(first_now), sums.payload.last.eq(last_now),
            skid.i.valid.eq(out_valid & ~waits),
            enable.eq(~waits & skid.i.ready),
            leave.eq(skid.i.valid & skid.i.ready & out_last),
        ]


def truncated(p):
    """A probability (FP32, 0 to 2) as an integer with `FRACTION_BITS` fraction bits, rounded down; combinational."""
    field = p[23:31]
    largest = Cat(Const(0, 8), p[:23], Const(1, 1))  # the significand of a value in [2, 4)
    return Mux(field > 128 - 32, largest >> (128 - field)[:5], 0)
