"""The block router: gives every quantised block its place in the operand buffer or in the KV cache."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from scoville.array.operand import credit_bits, operand_depth, operand_write
from scoville.attention.kv_store import kv_block_layout
from scoville.checks import check, check_stream
from scoville.config import BLOCK
from scoville.numerics import fp32
from scoville.numerics.block import block_layout

__all__ = ["QuantDest", "Router", "model", "quant_info", "quantised_block"]


class QuantDest(enum.Enum, shape=3):
    OPERAND = 0  # the lane's own bank
    QUERY = 1  # the bank of the lane that will attend for this head
    KEY = 2
    VALUE = 3
    PROBABILITY = 4  # as OPERAND; its last block is announced
    ATTENTION = 5  # the bank of the token that the lane attended for


def quant_info(config):
    """What the quantiser passes along unread: where a command's blocks go."""
    return data.StructLayout({
        "dest": QuantDest,
        "dst": 12,
        "group": 8,  # QUERY: query heads of a KV head
        "head_blocks": 4,
    } | ({
        "places": 9,  # QUERY: of a token among the pairs of attention
        "stride": 12,  # QUERY: from one KV head's blocks to the next one's
    } if config.slots > 1 else {}) | {
        "credit": credit_bits(config),  # ATTENTION: blocks of all tokens that are complete with this command
        "seat_token": data.ArrayLayout(range(max(2, config.seats)), config.seats),  # ATTENTION: the token's seat
        "seat_head": data.ArrayLayout(8, config.seats),  # ATTENTION: absolute head
    })


def quantised_block(config):
    """Layout of a block on its way: lane, phase, number, whether it is the last of its number, of all."""
    return data.StructLayout({
        "lane": range(max(2, config.lanes)),
        "phase": range(config.phases),
        "index": 24,
        "lane_last": 1,
        "last": 1,
        "block": block_layout(config.act_bits),
        "info": quant_info(config),
    })


class Router(wiring.Component):
    """Sends blocks to the operand buffer or to the KV store, with the address of "Operand buffer map".

    B = head_blocks, g = group, S seats, and blocks are counted head-major: index = head * B + b, head = kvh * g + hg.
    A seat is bank seat mod T, phase seat div T. Of a query, n = seat * places + hg; with one slot places = g and
    stride = g * B::

        OPERAND, PROBABILITY   seat as it comes           address = dst + index
        QUERY                  seat = n mod S             address = dst + kvh * stride + (n div S) * B + b
        ATTENTION              seat = seat_token[seat]    address = dst + seat_head[seat] * B + index
        KEY, VALUE             kv_head = index div B      part = b

    Heads are counted, not divided. One block a cycle, latency 1.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    i : In(stream(quantised_block))
    operand : Out(stream(operand_write))
    kv : Out(stream(kv_block_layout))
    credit : Out, blocks of the operand buffer that are good from the next cycle on, see `credit_bits`
    probability_done : pulses in the cycle in which the last block of a PROBABILITY command is written
    busy : a block waits at the input or at an output
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(quantised_block(config))),
            "operand": Out(stream.Signature(operand_write(config))),
            "kv": Out(stream.Signature(kv_block_layout(config))),
            "credit": Out(credit_bits(config)),
            "probability_done": Out(1),
            "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config, item, info = self.config, self.i.payload, self.i.payload.info
        lane_bits, seat_bits = config.lane_bits, exact_log2(config.seats)

        # position in the command, by counting: part of the head, head, head in its group
        part, head = Signal(4), Signal(8)
        in_group = Signal(8)
        place = Signal(12)  # QUERY: kvh * stride + b
        places, next_place = info.group, item.index + 1
        if config.slots > 1:
            places, next_place = info.places, place - part + info.stride
        move = self.i.valid & self.i.ready
        counts = move & item.lane_last
        if config.slots > 1:  # probabilities come between blocks of other commands, and have no need of it
            counts = counts & (info.dest != QuantDest.PROBABILITY)
        with m.If(counts):
            with m.If(item.last):
                m.d.sync += [part.eq(0), head.eq(0), in_group.eq(0), place.eq(0)]
            with m.Elif(part == info.head_blocks - 1):
                m.d.sync += [part.eq(0), head.eq(head + 1), in_group.eq(in_group + 1), place.eq(place - part)]
                with m.If(in_group == info.group - 1):
                    m.d.sync += [in_group.eq(0), place.eq(next_place)]
            with m.Else():
                m.d.sync += [part.eq(part + 1), place.eq(place + 1)]

        # address = dst + first + turn * head_blocks, the product behind registers
        seat, first, turn = Signal(seat_bits), Signal(12), Signal(8)
        near, heads, blocks = (Signal(width, name=name, reset_less=True) for width, name in (
            (12, "near"), (8, "heads"), (4, "blocks")))
        came = Cat(item.lane[:lane_bits], item.phase)  # the seat that the block comes from
        number = Signal(8 + seat_bits)  # QUERY: the head's place among those of all tokens
        m.d.comb += [number.eq(came * places + in_group), first.eq(item.index)]
        with m.Switch(info.dest):
            with m.Case(QuantDest.QUERY):
                m.d.comb += [seat.eq(number[:seat_bits]), first.eq(place), turn.eq(number[seat_bits:])]
            with m.Case(QuantDest.ATTENTION):
                m.d.comb += [seat.eq(info.seat_token[came]), turn.eq(info.seat_head[came])]
            with m.Default():
                m.d.comb += seat.eq(came)

        full, to_kv, announce = Signal(), Signal(), Signal()
        credit = Signal.like(self.credit)
        operand, kv = self.operand.payload, self.kv.payload
        address = near + fp32.small_product(heads, blocks)  # legal programs have none past the buffer
        m.d.comb += [
            self.i.ready.eq(~full | Mux(to_kv, self.kv.ready, self.operand.ready)),
            self.operand.valid.eq(full & ~to_kv),
            self.kv.valid.eq(full & to_kv),
            self.credit.eq(Mux(self.operand.valid & self.operand.ready, credit, 0)),
            self.probability_done.eq(self.operand.valid & self.operand.ready & announce),
            self.busy.eq(full | self.i.valid),
            kv.seat.eq(Cat(operand.bank[:lane_bits], operand.phase)),
            kv.e8.eq(operand.block.e8),
            operand.address.eq(address[:len(operand.address)]),
        ]
        check(m, ~self.operand.valid | (address < operand_depth(config)), "router: the buffer has the address")
        check(m, ~self.kv.valid | (kv.part < blocks), "router: the head has the part")
        check_stream(m, self.operand, "router: operand")
        check_stream(m, self.kv, "router: kv")
        for code in range(BLOCK):
            m.d.comb += kv.q[code].eq(operand.block.q[code][:8].as_signed())
        with m.If(self.i.ready):
            m.d.sync += full.eq(self.i.valid)
        with m.If(move):
            m.d.sync += [
                operand.bank.eq(seat[:lane_bits]),
                operand.phase.eq(seat[lane_bits:]),
                near.eq(info.dst + first), heads.eq(turn), blocks.eq(info.head_blocks),
                operand.block.eq(item.block),
                to_kv.eq((info.dest == QuantDest.KEY) | (info.dest == QuantDest.VALUE)),
                credit.eq(Mux(info.dest == QuantDest.ATTENTION, Mux(item.last, info.credit, 0),
                              item.lane_last & ((info.dest == QuantDest.OPERAND) | (info.dest == QuantDest.QUERY)))),
                announce.eq((info.dest == QuantDest.PROBABILITY) & item.last),
                kv.kv_head.eq(head),
                kv.part.eq(part),
                kv.value.eq(info.dest == QuantDest.VALUE),
            ]
        return m


def model(config, info, seat, index):
    """Where block `index` of `seat` goes: ("operand", seat, address) or ("kv", seat, kv_head, part, value)."""
    dest, dst, blocks = QuantDest(info["dest"]), info["dst"], info["head_blocks"]
    if dest in (QuantDest.KEY, QuantDest.VALUE):
        return "kv", seat, index // blocks, index % blocks, int(dest == QuantDest.VALUE)
    if dest == QuantDest.QUERY:
        head, part = divmod(index, blocks)
        kv_head, in_group = divmod(head, info["group"])
        places, stride = info["group"], info["group"] * blocks
        if config.slots > 1:
            places, stride = info["places"], info["stride"]
        turn, query = divmod(seat * places + in_group, config.seats)
        return "operand", query, dst + kv_head * stride + turn * blocks + part
    if dest == QuantDest.ATTENTION:
        return "operand", info["seat_token"][seat], dst + info["seat_head"][seat] * blocks + index
    return "operand", seat, dst + index
