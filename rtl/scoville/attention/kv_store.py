"""Appending to the KV cache: quantised blocks into their pages."""

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from scoville.checks import check, check_stream
from scoville.config import BLOCK, PAGE_TOKENS
from scoville.isa import PAGE_SIZE_BITS, Opcode, width
from scoville.kv.address import NUMBER_BITS, page_address_layout, page_request_layout
from scoville.memory.writer import write_command_layout, write_data_layout
from scoville.schedule.seats import PAGE_SHIFT, PassState
from scoville.slices import StreamSlice

__all__ = ["KvStore", "kv_block_layout", "page_offsets", "store_command_layout"]

PART_BYTES = PAGE_TOKENS * BLOCK  # codes of one block of the head dimension, all tokens of a page


def store_command_layout(config):
    """One matrix's output: `blocks` blocks, of values if `value` else of keys, and where they lie in a page."""
    return data.StructLayout({"value": 1, "blocks": 24} | {
        name: width(Opcode.LINEAR, name) for name in ("offset", "stride", "cache", "head_blocks")})


def kv_block_layout(config):
    """Block `part` of the head dimension of one head, of the token in `seat`: eight-bit codes and their exponent."""
    return data.StructLayout({
        "seat": range(max(2, config.seats)), "kv_head": 8, "part": 4, "value": 1,
        "q": data.ArrayLayout(signed(8), BLOCK), "e8": 8})


def page_offsets(config, head_blocks):
    """Byte offsets of a KV head's parts (K exponents, K codes, V exponents, V codes), and the bytes of all."""
    header = -(-BLOCK * head_blocks // config.bus_bytes) * config.bus_bytes
    half = header + PART_BYTES * head_blocks
    return (0, header, half, half + header), 2 * half


class KvStore(wiring.Component):
    """Writes blocks of keys and values, as they leave the quantiser, into the pages of their tokens.

    A token is at place ``s = position mod 32`` of page ``position div 32`` of its sequence; its KV head's parts begin
    at ``offset + kv_head * stride`` there. A key block is 32 bytes in a row and one exponent byte. A value block is
    byte `s` of 32 rows of 32 bytes, written as one run of 1024 bytes with a strobe on one byte of each row, and one
    exponent byte.

    Throughput: at best a key block in ``max(1, 32 / bus_bytes) + 6`` cycles, a value block in ``1024 / bus_bytes + 6``.
    The last page looked up is kept; another one costs a lookup.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    command : In(stream), `store_command_layout`
    i : In(stream), `kv_block_layout`
    state : In(PassState), whose position a seat has; stable while blocks come
    lookup, found : Out(stream) and In(stream), of a `PageAddress`
    write_command, write_data : Out(stream), to the writer
    writes_done : In(1), the writer is idle.
    busy : Out(1), from the cycle after `command` is taken until its last write has its response.
    clear : In(1), forgets a fault.
    fault : Out(1), a page was not there; its block was dropped.
    fault_page : Out, the first such page's number in its sequence.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "command": In(stream.Signature(store_command_layout(config))),
            "i": In(stream.Signature(kv_block_layout(config))),
            "state": In(PassState(config)),
            "lookup": Out(stream.Signature(page_request_layout(config))),
            "found": In(stream.Signature(page_address_layout(config))),
            "write_command": Out(stream.Signature(write_command_layout(config))),
            "write_data": Out(stream.Signature(write_data_layout(config))),
            "writes_done": In(1),
            "busy": Out(1),
            "clear": In(1),
            "fault": Out(1),
            "fault_page": Out(NUMBER_BITS),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        bus_bytes = config.bus_bytes
        beat_bits = exact_log2(bus_bytes)

        # The command and where the parts of its pages begin.
        command = Signal(store_command_layout(config), reset_less=True)
        left = Signal(len(command.blocks), reset_less=True)  # blocks to come
        exponents, codes = (Signal(PAGE_SIZE_BITS, name=name, reset_less=True) for name in ("exponents", "codes"))
        header_beats = Signal(16)
        header = Signal(16)
        half = Signal(16)
        taken = self.command.payload
        m.d.comb += [
            header_beats.eq(((taken.head_blocks << 5) + bus_bytes - 1)[beat_bits:]),
            header.eq(header_beats << beat_bits),
            half.eq(Mux(taken.value, header + (taken.head_blocks << exact_log2(PART_BYTES)), 0)),
        ]

        m.submodules.blocks = blocks = StreamSlice(kv_block_layout(config))
        wiring.connect(m, wiring.flipped(self.i), blocks.i)
        coming = blocks.o

        # The block, its place, and the last page found.
        block = Signal(kv_block_layout(config), reset_less=True)
        shifter = Signal(8 * BLOCK, reset_less=True)
        token = Signal(PAGE_SHIFT, reset_less=True)  # the place in the page
        page = Signal(page_request_layout(config), reset_less=True)
        known = Signal()
        known_page = Signal(page_request_layout(config), reset_less=True)
        base = Signal(page_address_layout(config), reset_less=True)
        head = Signal(PAGE_SIZE_BITS, reset_less=True)  # bytes from the layer's first KV head to the block's
        m.d.comb += [self.lookup.payload.eq(page), self.busy.eq(1)]
        whose = self.state.seats[coming.p.seat[:max(1, (config.seats - 1).bit_length())]]

        # Places in the page, without the KV head: those within a part are bits of their own.
        codes_place, exponent_place = (Signal(PAGE_SIZE_BITS, name=name, reset_less=True)
                                       for name in ("codes_place", "exponent_place"))
        codes_address, exponent_address = (Signal(config.addr_bits, name=name, reset_less=True)
                                           for name in ("codes_address", "exponent_address"))
        place = whose.position[:PAGE_SHIFT]
        in_part = Mux(command.value, 0, place << exact_log2(BLOCK))

        beats = Signal(range(PART_BYTES // bus_bytes + 1))
        beat = Signal(range(PART_BYTES // bus_bytes), reset_less=True)
        m.d.comb += beats.eq(Mux(command.value, PART_BYTES // bus_bytes, max(1, BLOCK // bus_bytes)))
        key_beat, value_beat, next_key, next_value = self._beats(shifter, token, beat)

        def aligned(address):
            return Cat(Const(0, beat_bits), address[beat_bits:])

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [self.command.ready.eq(1), self.busy.eq(~self.writes_done)]
                m.d.sync += [
                    command.eq(taken), left.eq(taken.blocks), known.eq(0),
                    exponents.eq(taken.offset + half), codes.eq(taken.offset + half + header),
                ]
                with m.If(self.command.valid & (taken.blocks != 0)):
                    m.next = "BLOCK"
            with m.State("BLOCK"):
                m.d.comb += coming.ready.eq(1)
                m.d.sync += [
                    block.eq(coming.p),
                    shifter.eq(coming.p.q),
                    Cat(token, page.page).eq(whose.position),
                    page.cache.eq(command.cache),
                    head.eq(coming.p.kv_head * command.stride),
                    codes_place.eq(codes + Cat(in_part[:exact_log2(PART_BYTES)], coming.p.part)),
                    exponent_place.eq(exponents + Cat(place, coming.p.part)),
                    beat.eq(0),
                ]
                with m.If(coming.valid):
                    m.d.sync += left.eq(left - 1)
                    m.next = "PAGE"
            with m.State("PAGE"):
                m.d.sync += [
                    codes_address.eq(base.address + (head + codes_place)),
                    exponent_address.eq(base.address + (head + exponent_place)),
                ]
                with m.If(~known | (known_page != page)):
                    m.next = "ASK"
                with m.Elif(base.fault):
                    m.next = "NEXT"
                with m.Else():
                    m.next = "CODES"
            with m.State("ASK"):
                m.d.comb += self.lookup.valid.eq(1)
                with m.If(self.lookup.ready):
                    m.next = "FOUND"
            with m.State("FOUND"):
                m.d.comb += self.found.ready.eq(1)
                m.d.sync += [base.eq(self.found.payload), known_page.eq(page)]
                with m.If(self.found.valid):
                    m.d.sync += known.eq(1)
                    with m.If(self.found.payload.fault & ~self.fault):
                        m.d.sync += [self.fault.eq(1), self.fault_page.eq(page.page)]
                    m.next = "PAGE"
            with m.State("CODES"):
                m.d.comb += [
                    self.write_command.valid.eq(1),
                    self.write_command.payload.address.eq(aligned(codes_address)),
                    self.write_command.payload.beats.eq(beats),
                ]
                with m.If(self.write_command.ready):
                    m.next = "CODE BEATS"
            with m.State("CODE BEATS"):
                m.d.comb += [
                    self.write_data.valid.eq(1),
                    self.write_data.payload.eq(Mux(command.value, value_beat, key_beat)),
                ]
                with m.If(self.write_data.ready):
                    m.d.sync += [beat.eq(beat + 1), shifter.eq(Mux(command.value, next_value, next_key))]
                    with m.If(beat == beats - 1):
                        m.next = "EXPONENT"
            with m.State("EXPONENT"):
                m.d.comb += [
                    self.write_command.valid.eq(1),
                    self.write_command.payload.address.eq(aligned(exponent_address)),
                    self.write_command.payload.beats.eq(1),
                ]
                with m.If(self.write_command.ready):
                    m.next = "EXPONENT BEAT"
            with m.State("EXPONENT BEAT"):
                m.d.comb += [
                    self.write_data.valid.eq(1),
                    self.write_data.payload.data.eq(block.e8.replicate(bus_bytes)),
                    self.write_data.payload.strobe.eq(Const(1, bus_bytes) << exponent_address[:beat_bits]),
                ]
                with m.If(self.write_data.ready):
                    m.next = "NEXT"
            with m.State("NEXT"):
                with m.If(left == 0):
                    m.next = "IDLE"
                with m.Else():
                    m.next = "BLOCK"

        with m.If(self.clear):
            m.d.sync += self.fault.eq(0)

        with m.If(coming.valid & coming.ready):
            check(m, left != 0, "kv store: a block has its command")
            check(m, coming.p.part < command.head_blocks, "kv store: the head has the part")
            check(m, coming.p.value == command.value, "kv store: keys for keys, values for values")
        for name in ("lookup", "write_command", "write_data"):
            check_stream(m, getattr(self, name), f"kv store: {name}")
        return m

    def _beats(self, shifter, slot, beat):
        """Beats of a key and of a value block, as values, and what is left of the codes after each.

        The codes still to be written begin at bit 0 of `shifter`; bytes that are not for memory get copies of others.
        """
        bus_bytes = self.config.bus_bytes
        layout = write_data_layout(self.config)
        rows = bus_bytes // BLOCK  # rows of a page's part in a beat
        if rows:
            key_data = shifter.replicate(rows)
            key_strobe = Const((1 << BLOCK) - 1, bus_bytes) << (slot[:exact_log2(rows)] << exact_log2(BLOCK))
            value_data = Cat(shifter.word_select(row, 8).replicate(BLOCK) for row in range(rows))
            value_strobe = (Const(1, BLOCK) << slot)[:BLOCK].replicate(rows)
            next_key, next_value = shifter, shifter >> 8 * rows
        else:
            beats = BLOCK // bus_bytes  # beats of a row
            ours = beat[:exact_log2(beats)] == slot[exact_log2(bus_bytes):]
            key_data = shifter[:8 * bus_bytes]
            key_strobe = Const((1 << bus_bytes) - 1, bus_bytes)
            value_data = shifter[:8].replicate(bus_bytes)
            value_strobe = Mux(ours, (Const(1, bus_bytes) << slot[:exact_log2(bus_bytes)])[:bus_bytes], 0)
            next_key = shifter >> 8 * bus_bytes
            next_value = Mux(beat[:exact_log2(beats)] == beats - 1, shifter >> 8, shifter)
        assert layout.size == 9 * bus_bytes
        return (Cat(key_data, key_strobe[:bus_bytes]), Cat(value_data, value_strobe[:bus_bytes]),
                next_key, next_value)

    @staticmethod
    def model(config, page, q, e8, *, value, slot, part, head_blocks):
        """Writes one block into `page`, a uint8 array of one page's bytes, in place."""
        offsets, _ = page_offsets(config, head_blocks)
        exponents, codes = offsets[2 * value:2 * value + 2]
        page[exponents + BLOCK * part + slot] = e8
        rows = page[codes + PART_BYTES * part:codes + PART_BYTES * (part + 1)].reshape(BLOCK, BLOCK)
        where = (slice(None), slot) if value else (slot, slice(None))
        rows[where] = np.asarray(q, np.int8).view(np.uint8)
