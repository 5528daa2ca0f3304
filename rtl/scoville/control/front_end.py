"""The front end: walks the program ahead of the array and tells the stream reader what to read."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from scoville.config import BLOCK, PAGE_TOKENS, VALUES_BEHIND
from scoville.control.instruction_fetch import instruction_layout
from scoville.control.legality import is_legal, legal_signal
from scoville.isa import INSTRUCTION_BYTES, Dest, Opcode, decode, field

__all__ = ["FrontEnd", "PassState", "page_beats"]

PAGE_SHIFT = PAGE_TOKENS.bit_length() - 1


def PassState(config):
    """What a pass works on: `tokens` seats from `position` on; `last` = it produces a token."""
    return data.StructLayout({
        "tokens": range(config.seats + 1),
        "position": 24,
        "last": 1,
        "ids": data.ArrayLayout(32, config.seats),
    })


def page_beats(config, head_blocks):
    """Beats of a KV page: up to V's codes (K's codes and both parts' exponents, padded to the bus), and V's codes."""
    header = (head_blocks * BLOCK + config.bus_bytes - 1) >> (config.bus_bytes.bit_length() - 1)
    codes = head_blocks * (BLOCK * BLOCK // config.bus_bytes)
    return (header << 1) + codes, codes


class FrontEnd(wiring.Component):
    """Turns instructions into read descriptors, in the order in which the back end will want the data.

    It runs ahead of the array as far as the stream FIFO and the instruction queue allow. It waits at one place: before
    it reads KV pages, the KV store must have written all that earlier instructions append to them. An illegal
    instruction or an unmapped page halts it until reset; neither is passed on.

    Throughput: 4 cycles an instruction, 2 more a token's row, 6 and the walk more a page.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    start : In(1), begin a pass; `state` : In(PassState), stable during the pass
    i : In(stream(instruction_layout))
    o : Out(stream(256)), the instruction, to the back end
    descriptor : Out(stream), {address, beats}, to the reader
    lookup, found : page-table requests {row, page} and responses {address, fault}
    kv_taken, kv_busy : In(1), the KV store has taken one LINEAR's command; it has writes to do
    end : Out(1), END has been passed on
    illegal, fault : Out(1), sticky; `fault_address` : Out, the instruction's or the page-table row's address
    waiting_kv : Out(1), held back by KV writes
    """

    def __init__(self, config):
        self.config = config
        address = config.addr_bits
        super().__init__({
            "start": In(1),
            "state": In(PassState(config)),
            "i": In(stream.Signature(instruction_layout(config))),
            "o": Out(stream.Signature(8 * INSTRUCTION_BYTES)),
            "descriptor": Out(stream.Signature(data.StructLayout({"address": address, "beats": 24}))),
            "lookup": Out(stream.Signature(data.StructLayout({"row": address, "page": 24}))),
            "found": In(stream.Signature(data.StructLayout({"address": address, "fault": 1}))),
            "kv_taken": In(1),
            "kv_busy": In(1),
            "end": Out(1),
            "illegal": Out(1),
            "fault": Out(1),
            "fault_address": Out(address),
            "waiting_kv": Out(1),
        })

    @staticmethod
    def model(config, program, state, found):
        """What the front end passes on and asks for.

        Parameters
        ----------
        program : list of (word, address), to the END or further
        state : dict of `PassState`
        found : function (row, page) -> (address, fault)

        Returns
        -------
        forwarded : list of words
        descriptors : list of (address, beats)
        lookups : list of (row, page)
        stop : ("end", None), ("illegal", address of the instruction) or ("fault", address of the page-table row)
        """
        forwarded, descriptors, lookups = [], [], []
        for word, origin in program:
            try:
                f = decode(word.to_bytes(INSTRUCTION_BYTES, "little"))
            except ValueError:
                return forwarded, descriptors, lookups, ("illegal", origin)
            if not is_legal(config, f):
                return forwarded, descriptors, lookups, ("illegal", origin)
            if f["only_last"] and not state["last"]:
                continue
            forwarded.append(word)
            opcode = f["opcode"]
            if opcode is Opcode.END:
                break
            if opcode is Opcode.LOAD:
                descriptors.append((f["address"], f["bytes"] // config.bus_bytes))
            elif opcode is Opcode.LINEAR:
                descriptors.append((f["address"], f["beats"]))
            elif opcode in (Opcode.ROPE, Opcode.EMBED):
                for lane in range(state["tokens"]):
                    row = state["position"] + lane if opcode is Opcode.ROPE else state["ids"][lane]
                    address = (f["address"] + row * f["stride"]) % (1 << config.addr_bits)
                    descriptors.append((address, f["bytes"] // config.bus_bytes))
            else:
                key_beats, value_beats = page_beats(config, f["head_blocks"])
                values = []  # V's codes of the pages whose keys have been asked for
                pages = (state["position"] + state["tokens"] - 1) // PAGE_TOKENS + 1
                for head in range(f["kv_heads"]):
                    row = f["table"] + head * f["table_stride"]
                    for _ in range(-(-state["tokens"] * f["group"] // config.seats)):
                        for page in range(pages):
                            lookups.append((row, page))
                            address, fault = found(row, page)
                            if fault:
                                return forwarded, descriptors, lookups, ("fault", row)
                            descriptors.append((address, key_beats))
                            values.append(((address + key_beats * config.bus_bytes) % (1 << config.addr_bits),
                                           value_beats))
                            if len(values) > VALUES_BEHIND:
                                descriptors.append(values.pop(0))
                descriptors += values
        return forwarded, descriptors, lookups, ("end", None)

    def elaborate(self, platform):
        m = Module()
        config = self.config
        bus_shift = config.bus_bytes.bit_length() - 1
        state = self.state

        word = Signal(8 * INSTRUCTION_BYTES, reset_less=True)
        origin = Signal(config.addr_bits, reset_less=True)
        opcode = field(word, Opcode.END, "opcode")
        address = field(word, Opcode.LOAD, "address")
        legal = Signal(reset_less=True)
        m.d.sync += legal.eq(legal_signal(m, config, self.i.p.word))  # looked at in the cycle after `take`

        # KV appends on their way to the KV store: ATTEND waits until it has taken and done them.
        appends = Signal(8)
        append = Signal()
        with m.If(append & ~self.kv_taken):
            m.d.sync += appends.eq(appends + 1)
        with m.If(~append & self.kv_taken):
            m.d.sync += appends.eq(appends - 1)

        # A row a token (RoPE by position, embedding by token).
        seat = Signal(range(config.seats + 1))
        row = Signal(32, reset_less=True)  # of the seat, a cycle later
        stride = field(word, Opcode.ROPE, "stride")
        half = 16  # products of half a row's number each are registered, and added where the address is
        low, high = (Signal(config.addr_bits, name=name, reset_less=True) for name in ("low", "high"))
        row_bytes = field(word, Opcode.ROPE, "bytes")
        m.d.sync += row.eq(Mux(opcode == Opcode.ROPE, state.position + seat,
                             state.ids[seat[:max(1, (config.seats - 1).bit_length())]]))

        # Attention loops: KV heads, passes of S (token, query head) pairs, pages.
        group = field(word, Opcode.ATTEND, "group")
        pairs = Signal(16)
        served = Signal(16)
        head = Signal(8)
        page = Signal(24)
        table_row = Signal(config.addr_bits, reset_less=True)
        found = Signal(config.addr_bits, reset_less=True)
        pages = Signal(24, reset_less=True)  # the pass state stands still, long before it is wanted here
        key_beats, value_beats = Signal(16), Signal(16)
        # The pages whose values are still to be read.
        m.submodules.values = values = SyncFIFO(width=config.addr_bits, depth=VALUES_BEHIND + 1)
        all_keys = Signal()
        m.d.sync += pages.eq(((state.position + state.tokens - 1) >> PAGE_SHIFT) + 1)
        m.d.comb += [
            *(signal.eq(beats) for signal, beats in zip(
                (key_beats, value_beats), page_beats(config, field(word, Opcode.ATTEND, "head_blocks")), strict=True)),
            values.w_data.eq(found + (key_beats << bus_shift)),
            self.lookup.p.row.eq(table_row),
            self.lookup.p.page.eq(page),
            self.o.payload.eq(word),
        ]

        with m.FSM():
            with m.State("idle"), m.If(self.start):
                m.next = "take"
            with m.State("take"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [word.eq(self.i.p.word), origin.eq(self.i.p.address), seat.eq(0)]
                with m.If(self.i.valid):
                    m.next = "check"
            with m.State("check"):
                with m.If(~legal):
                    m.d.sync += [self.illegal.eq(1), self.fault_address.eq(origin)]
                    m.next = "halted"
                with m.Elif(field(word, Opcode.END, "only_last") & ~state.last):
                    m.next = "take"
                with m.Else():
                    m.next = "forward"
            with m.State("forward"):
                m.d.comb += self.o.valid.eq(1)
                m.d.sync += [head.eq(0), table_row.eq(field(word, Opcode.ATTEND, "table")),
                             pairs.eq(state.tokens * group)]
                with m.If(self.o.ready), m.Switch(opcode):
                    with m.Case(Opcode.END):
                        m.d.comb += self.end.eq(1)
                        m.next = "idle"
                    with m.Case(Opcode.LOAD):
                        m.next = "vector"
                    with m.Case(Opcode.ROPE, Opcode.EMBED):
                        m.next = "lane"
                    with m.Case(Opcode.LINEAR):
                        dest = field(word, Opcode.LINEAR, "dest")
                        m.d.comb += append.eq((dest == Dest.KEY) | (dest == Dest.VALUE))
                        m.next = "matrix"
                    with m.Case(Opcode.ATTEND):
                        m.next = "appended"
            with m.State("vector"):
                m.d.comb += [
                    self.descriptor.valid.eq(1),
                    self.descriptor.p.address.eq(address),
                    self.descriptor.p.beats.eq(field(word, Opcode.LOAD, "bytes") >> bus_shift),
                ]
                with m.If(self.descriptor.ready):
                    m.next = "take"
            with m.State("matrix"):
                m.d.comb += [
                    self.descriptor.valid.eq(1),
                    self.descriptor.p.address.eq(address),
                    self.descriptor.p.beats.eq(field(word, Opcode.LINEAR, "beats")),
                ]
                with m.If(self.descriptor.ready):
                    m.next = "take"
            with m.State("lane"):
                m.d.sync += [low.eq(row[:half] * stride), high.eq(row[half:] * stride), seat.eq(seat + 1)]
                m.next = "lane_row"
            with m.State("lane_row"):
                m.d.comb += [
                    self.descriptor.valid.eq(1),
                    self.descriptor.p.address.eq(address + low + (high << half)),
                    self.descriptor.p.beats.eq(row_bytes >> bus_shift),
                ]
                with m.If(self.descriptor.ready):
                    with m.If(seat == state.tokens):
                        m.next = "take"
                    with m.Else():
                        m.next = "lane"
            with m.State("appended"):
                m.d.comb += self.waiting_kv.eq(1)
                m.d.sync += [page.eq(0), served.eq(0), all_keys.eq(0)]
                with m.If((appends == 0) & ~self.kv_busy):
                    m.next = "look_up"
            with m.State("look_up"):
                m.d.comb += self.lookup.valid.eq(1)
                with m.If(self.lookup.ready):
                    m.next = "found"
            with m.State("found"):
                m.d.comb += self.found.ready.eq(1)
                with m.If(self.found.valid):
                    m.d.sync += found.eq(self.found.p.address)
                    with m.If(self.found.p.fault):
                        m.d.sync += [self.fault.eq(1), self.fault_address.eq(table_row)]
                        m.next = "halted"
                    with m.Else():
                        m.next = "keys"
            with m.State("keys"):
                m.d.comb += [
                    self.descriptor.valid.eq(1),
                    self.descriptor.p.address.eq(found),
                    self.descriptor.p.beats.eq(key_beats),
                ]
                with m.If(self.descriptor.ready):
                    m.d.comb += values.w_en.eq(1)
                    m.d.sync += page.eq(page + 1)
                    with m.If(page + 1 == pages):
                        m.d.sync += [page.eq(0), served.eq(served + config.seats)]
                        with m.If(served + config.seats >= pairs):
                            m.d.sync += [
                                served.eq(0), head.eq(head + 1),
                                table_row.eq(table_row + field(word, Opcode.ATTEND, "table_stride")),
                            ]
                            with m.If(head + 1 == field(word, Opcode.ATTEND, "kv_heads")):
                                m.d.sync += all_keys.eq(1)
                    m.next = "behind"
            with m.State("behind"):
                with m.If(all_keys & ~values.r_rdy):
                    m.next = "take"
                with m.Elif(all_keys | (values.level > VALUES_BEHIND)):
                    m.next = "values"
                with m.Else():
                    m.next = "look_up"
            with m.State("values"):
                m.d.comb += [
                    self.descriptor.valid.eq(1),
                    self.descriptor.p.address.eq(values.r_data),
                    self.descriptor.p.beats.eq(value_beats),
                    values.r_en.eq(self.descriptor.ready),
                ]
                with m.If(self.descriptor.ready):
                    m.next = "behind"
            with m.State("halted"):
                pass
        assert len(self.descriptor.p.beats) >= len(key_beats)
        return m
