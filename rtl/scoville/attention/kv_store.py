"""Appending to the KV cache: quantised blocks into their pages."""

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from scoville.attention.pages import page_address_layout, page_request_layout
from scoville.checks import check, check_stream
from scoville.config import BLOCK, PAGE_TOKENS
from scoville.isa import PAGE_BITS, POSITION_BITS, Opcode, width
from scoville.memory.writer import write_command_layout, write_data_layout
from scoville.slices import StreamSlice

__all__ = ["KvStore", "kv_block_layout", "page_offsets", "store_command_layout"]

PART_BYTES = PAGE_TOKENS * BLOCK  # codes of one block of the head dimension, all tokens of a page


def store_command_layout(config):
    """One matrix's output: `blocks` blocks, of values if `value` else of keys; `position` is that of seat 0."""
    return data.StructLayout({
        "value": 1, "table": config.addr_bits, "table_stride": width(Opcode.LINEAR, "table_stride"),
        "position": POSITION_BITS, "head_blocks": width(Opcode.LINEAR, "head_blocks"), "blocks": 24})


def kv_block_layout(config):
    """Block `part` of the head dimension of one head, of the token in `seat`: eight-bit codes and their exponent."""
    return data.StructLayout({
        "seat": range(max(2, config.seats)), "kv_head": 8, "part": 4, "value": 1,
        "q": data.ArrayLayout(signed(8), BLOCK), "e8": 8})


def page_offsets(config, head_blocks):
    """Byte offsets in a page of (K exponents, K codes, V exponents, V codes), and the bytes of a page."""
    header = -(-BLOCK * head_blocks // config.bus_bytes) * config.bus_bytes
    half = header + PART_BYTES * head_blocks
    return (0, header, half, half + header), 2 * half


class KvStore(wiring.Component):
    """Writes blocks of keys and values, as they leave the quantiser, into the pages of their tokens.

    A token is at slot ``s = (position + seat) mod 32`` of page ``(position + seat) div 32`` of the row of its KV head
    in the page table. A key block is 32 bytes in a row and one exponent byte. A value block is byte `s` of 32 rows
    of 32 bytes, written as one run of 1024 bytes with a strobe on one byte of each row, and one exponent byte.

    Throughput: at best a key block in ``max(1, 32 / bus_bytes) + 6`` cycles, a value block in ``1024 / bus_bytes + 6``.
    The last page looked up is kept; another one costs a walk.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    command : In(stream), `store_command_layout`
    i : In(stream), `kv_block_layout`
    lookup, found : Out(stream) and In(stream), a `PageWalker` port
    write_command, write_data : Out(stream), to the writer
    writes_done : In(1), the writer is idle.
    busy : Out(1), from the cycle after `command` is taken until its last write has its response.
    clear : In(1), forgets a fault.
    fault : Out(1), a page was not there; its block was dropped.
    fault_row : Out(addr_bits), the address of the first such page's row in the page table.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "command": In(stream.Signature(store_command_layout(config))),
            "i": In(stream.Signature(kv_block_layout(config))),
            "lookup": Out(stream.Signature(page_request_layout(config))),
            "found": In(stream.Signature(page_address_layout(config))),
            "write_command": Out(stream.Signature(write_command_layout(config))),
            "write_data": Out(stream.Signature(write_data_layout(config))),
            "writes_done": In(1),
            "busy": Out(1),
            "clear": In(1),
            "fault": Out(1),
            "fault_row": Out(config.addr_bits),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        bus_bytes = config.bus_bytes
        beat_bits = exact_log2(bus_bytes)

        # The command and where the parts of its pages begin.
        command = Signal(store_command_layout(config), reset_less=True)
        left = Signal(len(command.blocks), reset_less=True)  # blocks to come
        exponents = Signal(16, reset_less=True)
        codes = Signal(16, reset_less=True)
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
        position = Signal(POSITION_BITS, reset_less=True)
        row = Signal(config.addr_bits, reset_less=True)
        page = Signal(PAGE_BITS)
        slot = position[:5]
        known = Signal()
        known_head = Signal(8, reset_less=True)
        known_page = Signal(PAGE_BITS, reset_less=True)
        base = Signal(page_address_layout(config), reset_less=True)
        stride_product = Signal(32, reset_less=True)
        m.d.comb += [
            page.eq(position >> exact_log2(PAGE_TOKENS)),
            self.lookup.payload.row.eq(row),
            self.lookup.payload.page.eq(page),
            self.busy.eq(1),
        ]

        # Offsets in the page: the places within a part are bits of their own.
        codes_address = Signal(config.addr_bits, reset_less=True)
        exponent_address = Signal(config.addr_bits, reset_less=True)
        in_part = Mux(command.value, 0, slot << exact_log2(BLOCK))
        codes_offset = codes + Cat(in_part[:exact_log2(PART_BYTES)], block.part)
        exponent_offset = exponents + Cat(slot, block.part)

        beats = Signal(range(PART_BYTES // bus_bytes + 1))
        beat = Signal(range(PART_BYTES // bus_bytes), reset_less=True)
        m.d.comb += beats.eq(Mux(command.value, PART_BYTES // bus_bytes, max(1, BLOCK // bus_bytes)))
        key_beat, value_beat, next_key, next_value = self._beats(shifter, slot, beat)

        def aligned(address):
            return Cat(Const(0, beat_bits), address[beat_bits:])

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [self.command.ready.eq(1), self.busy.eq(~self.writes_done)]
                m.d.sync += [
                    command.eq(taken), left.eq(taken.blocks), known.eq(0),
                    exponents.eq(half), codes.eq(half + header),
                ]
                with m.If(self.command.valid & (taken.blocks != 0)):
                    m.next = "BLOCK"
            with m.State("BLOCK"):
                m.d.comb += coming.ready.eq(1)
                m.d.sync += [
                    block.eq(coming.p),
                    shifter.eq(coming.p.q),
                    position.eq((command.position + coming.p.seat)[:POSITION_BITS]),
                    stride_product.eq(coming.p.kv_head * command.table_stride),
                    beat.eq(0),
                ]
                with m.If(coming.valid):
                    m.d.sync += left.eq(left - 1)
                    m.next = "PAGE"
            with m.State("PAGE"):
                m.d.sync += [
                    row.eq((command.table + stride_product)[:config.addr_bits]),
                    codes_address.eq((base.address + codes_offset)[:config.addr_bits]),
                    exponent_address.eq((base.address + exponent_offset)[:config.addr_bits]),
                ]
                with m.If(~known | (known_head != block.kv_head) | (known_page != page)):
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
                m.d.sync += [base.eq(self.found.payload), known_head.eq(block.kv_head), known_page.eq(page)]
                with m.If(self.found.valid):
                    m.d.sync += known.eq(1)
                    with m.If(self.found.payload.fault & ~self.fault):
                        m.d.sync += [self.fault.eq(1), self.fault_row.eq(row)]
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
