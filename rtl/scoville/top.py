"""The chip: the block diagram of docs/design.md, wired."""

from amaranth.hdl import Cat, Const, Module, Mux, ResetInserter, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from scoville.array.array import DotArray
from scoville.array.operand import OperandBuffer
from scoville.attention.kv_store import KvStore
from scoville.attention.pages import PageWalker
from scoville.attention.softmax import Softmax
from scoville.control.accounting import activity, stall_reasons
from scoville.control.activity import activity_layout
from scoville.control.back_end import BackEnd
from scoville.control.front_end import FrontEnd
from scoville.control.instruction_fetch import InstructionFetch
from scoville.control.monitor import FaultLatch, PerformanceCounters
from scoville.control.queue import Queue
from scoville.control.register_file import RegisterFile
from scoville.control.sequence import STOPS, SequenceController
from scoville.epilogue.chain import Chain
from scoville.epilogue.quantiser import Quantiser
from scoville.epilogue.router import Router
from scoville.epilogue.vectors import VectorUnit
from scoville.gating import gate_reset, sleeper
from scoville.isa import INSTRUCTION_BYTES
from scoville.memory import axi
from scoville.memory.arbiter import WriteArbiter
from scoville.memory.dump import LogitsDump
from scoville.memory.fetch_port import FetchPort, ReadMux
from scoville.memory.reader import ErrorKind, StreamReader
from scoville.memory.writer import StreamWriter
from scoville.numerics import fp32
from scoville.registers import Status
from scoville.sampler.sampler import Sampler
from scoville.weights.decoder import WeightDecoder

__all__ = ["Top"]

INSTRUCTION_QUEUE = 8
TOKEN_QUEUE = 16


class Top(wiring.Component):
    """The whole processor: AXI4 to memory, AXI4-Lite to registers, one interrupt.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    m_axi : Out(AXI4), to memory
    s_axil : In(AXI4-Lite), registers (`scoville.registers`)
    interrupt : Out(1), level: an enabled IRQ_STATUS bit is set
    activity : Out(activity_layout()), what the chip did two cycles before: a trace port, which may be left open
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "m_axi": Out(axi.signature(config)),
            "s_axil": In(axi.lite_signature()),
            "interrupt": Out(1),
            "activity": Out(activity_layout()),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.registers = registers = RegisterFile(config)
        connect(m, flipped(self.s_axil), registers.bus)

        # A soft reset clears all but the settings. It takes effect once no bus transaction is open: after a fault,
        # or once a reset is wanted, no read begins, and what the stream still brings is dropped; nor does a write
        # begin once a reset is wanted.
        reset_wanted = Signal()
        reset = Signal()
        stop = Signal()

        parts = {}

        def unit(name, component):
            parts[name] = component
            setattr(m.submodules, name, ResetInserter(reset)(component))
            return component

        def sleepy(name, component, *awake, **options):
            parts[name] = component
            setattr(m.submodules, name, sleeper(m, component, *awake, wrap=ResetInserter(reset), **options))
            return component

        gate_reset(reset)

        # Memory side.
        reader = unit("reader", StreamReader(config))
        fetch_port = unit("fetch_port", FetchPort(config, clients=3))
        read_mux = unit("read_mux", ReadMux(config))
        walker = PageWalker(config)
        sleepy("page_walker", walker, walker.invalidate)
        writer = unit("writer", StreamWriter(config))
        arbiter = unit("write_arbiter", WriteArbiter(config))
        # Datapath.
        decoder = unit("decoder", WeightDecoder(config))
        vectors = unit("vectors", VectorUnit(config))
        operands = unit("operands", OperandBuffer(config))
        array = unit("array", DotArray(config))
        softmax = sleepy("softmax", Softmax(config))
        chain = Chain(config)
        sleepy("chain", chain, chain.awake, tail=3, signs=())
        quantiser = sleepy("quantiser", Quantiser(config))
        router = unit("router", Router(config))
        kv_store = KvStore(config)
        sleepy("kv_store", kv_store, kv_store.clear)
        sampler = unit("sampler", Sampler(config))
        dump = sleepy("dump", LogitsDump(config))
        # Control.
        sequence = unit("sequence", SequenceController(config))
        instruction_fetch = unit("instruction_fetch", InstructionFetch(config))
        front = unit("front_end", FrontEnd(config))
        instructions = unit("instructions", Queue(8 * INSTRUCTION_BYTES, INSTRUCTION_QUEUE))
        back = unit("back_end", BackEnd(config))
        tokens = unit("tokens", Queue(32, TOKEN_QUEUE))
        counters = unit("counters", PerformanceCounters())
        faults = unit("faults", FaultLatch(config))

        # --- the weight stream -----------------------------------------------------------------------------------
        connect(m, reader.bus, read_mux.reader)
        connect(m, fetch_port.bus, read_mux.fetch)
        for name in read_mux.bus.signature.members:
            ours, theirs = getattr(self.m_axi, name), getattr(read_mux.bus, name)
            outward = read_mux.bus.signature.members[name].flow is Out
            m.d.comb += ours.eq(theirs) if outward else theirs.eq(ours)
        for name in writer.bus.signature.members:
            ours, theirs = getattr(self.m_axi, name), getattr(writer.bus, name)
            outward = writer.bus.signature.members[name].flow is Out
            m.d.comb += ours.eq(theirs) if outward else theirs.eq(ours)
        connect(m, decoder.o, array.weights)
        connect(m, decoder.vector, vectors.vector)
        connect(m, decoder.exponents, softmax.exponents)
        m.d.comb += [
            decoder.i.payload.eq(reader.o.payload),
            decoder.i.valid.eq(reader.o.valid & ~stop),
            reader.o.ready.eq(decoder.i.ready | stop),
            decoder.table_en.eq(vectors.table_en),
            decoder.table_data.eq(vectors.table_data),
            operands.address.eq(array.operand_address),
            array.operand_blocks.eq(operands.blocks),
            array.credit.eq(router.credit),
        ]

        # --- array to epilogue and back --------------------------------------------------------------------------
        to_softmax = array.o.p.tag
        m.d.comb += [
            chain.i.payload.eq(array.o.payload),
            softmax.i.payload.eq(array.o.payload),
            chain.i.valid.eq(array.o.valid & ~to_softmax),
            softmax.i.valid.eq(array.o.valid & to_softmax),
            array.o.ready.eq(Mux(to_softmax, softmax.i.ready, chain.i.ready)),
        ]
        connect(m, vectors.embed, chain.embed)
        connect(m, chain.bias, vectors.bias)
        connect(m, chain.norm, vectors.norm)
        connect(m, chain.rope, vectors.rope)
        connect(m, softmax.factor, chain.factor)
        connect(m, chain.o, quantiser.chain)
        connect(m, softmax.o, quantiser.softmax)
        connect(m, quantiser.o, router.i)
        connect(m, router.operand, operands.write)
        connect(m, router.kv, kv_store.i)
        connect(m, chain.logits, sampler.i)
        connect(m, sampler.dump, dump.i)
        connect(m, sampler.o, sequence.sampled)

        # --- KV pages and writes ---------------------------------------------------------------------------------
        connect(m, front.lookup, walker.request0)
        connect(m, walker.response0, front.found)
        connect(m, kv_store.lookup, walker.request1)
        connect(m, walker.response1, kv_store.found)
        connect(m, kv_store.write_command, arbiter.command0)
        connect(m, kv_store.write_data, arbiter.data0)
        connect(m, dump.command, arbiter.command1)
        connect(m, dump.data, arbiter.data1)
        m.d.comb += [
            writer.command.payload.eq(arbiter.command.payload),
            writer.command.valid.eq(arbiter.command.valid & ~reset_wanted),
            arbiter.command.ready.eq(writer.command.ready & ~reset_wanted),
        ]
        connect(m, arbiter.data, writer.data)
        m.d.comb += [
            kv_store.writes_done.eq(writer.idle),
            front.kv_taken.eq(kv_store.command.valid & kv_store.command.ready),
            front.kv_busy.eq(kv_store.busy),
            walker.invalidate.eq(sequence.begin),
        ]

        # --- the program -----------------------------------------------------------------------------------------
        fault = faults.fault
        requests = (walker.read_request, instruction_fetch.request, sequence.request)
        responses = (walker.read_response, instruction_fetch.response, sequence.response)
        for index, (request, response) in enumerate(zip(requests, responses, strict=True)):
            port, answer = fetch_port.i[index], fetch_port.o[index]
            m.d.comb += [
                port.p.address.eq(request.p.address),
                port.p.beats.eq(1 if request is walker.read_request else request.p.beats),
                port.valid.eq(request.valid & ~stop),
                request.ready.eq(port.ready & ~stop),
                response.payload.eq(answer.payload),
                response.valid.eq(answer.valid),
                answer.ready.eq(response.ready | stop),
            ]
        connect(m, instruction_fetch.o, front.i)
        connect(m, front.o, instructions.i)
        connect(m, instructions.o, back.i)
        m.d.comb += [
            instruction_fetch.start.eq(sequence.begin),
            instruction_fetch.stop.eq(front.end),
            front.start.eq(sequence.begin),
            front.state.eq(sequence.state),
            front.page_bytes.eq(registers.set_kv_page_bytes),
            back.state.eq(sequence.state),
            sequence.pass_done.eq(back.done),
            sequence.halt.eq(fault),
            reader.i.payload.eq(front.descriptor.payload),
            reader.i.valid.eq(front.descriptor.valid & ~stop),
            front.descriptor.ready.eq(reader.i.ready & ~stop),
        ]

        # --- commands, each through a queue, so that the back end never waits for a unit in the middle of its work -
        units = {"decoder": decoder, "vectors": vectors, "chain": chain, "quantiser": quantiser, "softmax": softmax,
                 "kv": kv_store, "sampler": sampler, "dump": dump}
        empty = []
        for name, consumer in units.items():
            source = getattr(back, name)
            target = consumer.start if consumer is dump else consumer.command
            queue = unit(f"{name}_queue", Queue(source.payload.shape()))
            connect(m, source, queue.i)
            allowed = self._dump_allowed(m, reader, queue) if consumer is dump else 1
            m.d.comb += [
                target.payload.eq(queue.o.payload),
                target.valid.eq(queue.o.valid & allowed),
                queue.o.ready.eq(target.ready & allowed),
            ]
            if consumer in (decoder, vectors, chain, quantiser, softmax):
                empty.append(queue.empty)
            else:
                setattr(self, f"_{name}_empty", queue.empty)
        connect(m, back.task, array.task)
        connect(m, softmax.shift, back.shift)
        busy = [array.busy, vectors.busy, softmax.busy, chain.busy, quantiser.busy, router.busy]
        m.d.comb += [
            back.probability_done.eq(router.probability_done),
            back.quiet.eq(Cat(empty).all() & ~Cat(busy).any()),
            back.settled.eq(self._kv_empty & self._sampler_empty & self._dump_empty
                            & ~kv_store.busy & (~sampler.busy | sampler.o.valid) & ~dump.busy & writer.idle),
        ]

        self._settings(m, registers, sequence, instruction_fetch, walker, reader, fetch_port, back, sampler, faults)
        self._tokens(m, registers, sequence, tokens)
        self._faults(m, faults, reader, writer, front, kv_store, instruction_fetch, sequence, array)
        self._count(m, registers, counters, sequence, parts)
        self._status(m, registers, sequence, faults, tokens, chain, softmax, quantiser, reader, fetch_port,
                     writer, reset)

        m.d.sync += [stop.eq(fault | reset_wanted),
                     reset.eq(reset_wanted & stop & ~reset & reader.idle & fetch_port.idle & writer.idle)]
        with m.If(registers.write_control[1]):
            m.d.sync += reset_wanted.eq(1)
        with m.Elif(reset):
            m.d.sync += reset_wanted.eq(0)
        return m

    def _settings(self, m, registers, sequence, instruction_fetch, walker, reader, fetch_port, back, sampler, faults):
        """From the register file to the units."""

        def wide(name):
            return Cat(getattr(registers, f"set_{name}_lo"), getattr(registers, f"set_{name}_hi"))

        dump_base = Signal(self.config.addr_bits)
        with m.If(sequence.start):
            m.d.sync += dump_base.eq(wide("logits"))
        with m.Elif(sequence.sampled.valid & sequence.sampled.ready & (dump_base != 0)):
            m.d.sync += dump_base.eq(dump_base + registers.set_logits_stride)
        m.d.sync += sampler.dump_enable.eq(dump_base != 0)  # it changes between tokens
        m.d.comb += [
            sequence.start.eq(registers.write_control[0] & ~sequence.running),
            sequence.prompt.eq(wide("prompt")),
            sequence.prompt_length.eq(registers.set_prompt_length),
            sequence.first.eq(registers.set_position),
            sequence.max_new.eq(registers.set_max_new),
            sequence.context.eq(registers.set_context),
            sequence.stop_count.eq(registers.set_stop_count),
            Cat(sequence.stops).eq(Cat(getattr(registers, f"set_stop{index}") for index in range(STOPS))),
            instruction_fetch.base.eq(wide("program")),
            walker.kv_base.eq(wide("kv_base")),
            walker.kv_pages.eq(registers.set_kv_pages),
            walker.page_bytes.eq(registers.set_kv_page_bytes),
            back.seed.eq(wide("seed")),
            back.invt.eq(registers.set_temperature),
            back.dump_base.eq(dump_base),
            faults.limit.eq(registers.set_watchdog),
        ]
        for port in (reader, fetch_port):
            m.d.comb += [port.window_base.eq(wide("window_base")), port.window_limit.eq(wide("window_limit"))]

    def _tokens(self, m, registers, sequence, tokens):
        """Generated tokens to the TOKEN register, and the interrupt."""
        connect(m, sequence.token, tokens.i)
        pending = Signal(3)
        errors = Signal()
        self._error_seen = errors
        m.d.comb += [
            registers.get_token.eq(Mux(tokens.o.valid, tokens.o.payload, 0xFFFFFFFF)),
            tokens.o.ready.eq(registers.pop_token),
            registers.get_irq_status.eq(pending),
            self.interrupt.eq((pending & registers.set_irq_enable[:3]).any()),
        ]
        events = Cat(tokens.i.valid & tokens.i.ready, sequence.finished, errors)
        m.d.sync += pending.eq((pending & ~registers.write_irq_status[:3]) | events)

    def _dump_allowed(self, m, reader, queue):
        """Whether the logits may be written where the host wants them: inside the window, as everything is.

        The answer takes two cycles, an addition and a comparison.
        """
        start = queue.o.payload.address
        end = Signal(self.config.addr_bits + 1, reset_less=True)
        inside, age = Signal(reset_less=True), Signal(2)
        m.d.sync += [
            end.eq(start + (queue.o.payload.words << 2)),
            inside.eq((start >= reader.window_base) & (end <= reader.window_limit)),
            age.eq(Mux(queue.o.ready, 0, Cat(queue.o.valid, age[0]))),
        ]
        known = queue.o.valid & age[1]
        self._dump_refused = known & ~inside
        self._dump_address = start
        return known & inside

    def _faults(self, m, faults, reader, writer, front, kv_store, instruction_fetch, sequence, array):
        """Everything that can go wrong, to the fault latch."""
        window = reader.error & (reader.error_kind == ErrorKind.WINDOW)
        # The fetch port answers a read outside the window with an error too. It may be late: nothing else waits for it.
        failed, fetch_error, fetch_outside, was_fault = Signal(), Signal(), Signal(), Signal()
        failed_address, fetch_address = Signal(self.config.addr_bits), Signal(self.config.addr_bits)
        m.d.sync += [
            faults.progress.eq(array.issue | (self.m_axi.rvalid & self.m_axi.rready)
                               | (self.m_axi.wvalid & self.m_axi.wready)
                               | (sequence.token.valid & ~sequence.token.ready)),
            was_fault.eq(faults.fault),
            failed.eq(instruction_fetch.error | sequence.read_error),
            failed_address.eq(Mux(instruction_fetch.error, instruction_fetch.error_address, sequence.error_address)),
            fetch_error.eq(failed),
            fetch_address.eq(failed_address),
            fetch_outside.eq((failed_address < reader.window_base) | (failed_address >= reader.window_limit)),
        ]
        m.d.comb += [
            faults.raise_read_error.eq((reader.error & ~window) | (fetch_error & ~fetch_outside)),
            faults.address_read_error.eq(Mux(reader.error & ~window, reader.error_address, fetch_address)),
            faults.raise_write_error.eq(writer.error),
            faults.address_write_error.eq(writer.error_address),
            faults.raise_illegal_instruction.eq(front.status == Status.ILLEGAL_INSTRUCTION),
            faults.address_illegal_instruction.eq(front.fault_address),
            faults.raise_token.eq(front.status == Status.TOKEN),
            faults.address_token.eq(front.fault_address),
            faults.raise_window.eq(window | (fetch_error & fetch_outside) | self._dump_refused),
            faults.address_window.eq(Mux(window, reader.error_address,
                                         Mux(fetch_error, fetch_address, self._dump_address))),
            faults.raise_page_fault.eq((front.status == Status.PAGE_FAULT) | kv_store.fault),
            faults.address_page_fault.eq(Mux(front.status == Status.PAGE_FAULT, front.fault_address,
                                             kv_store.fault_row)),
            faults.raise_context.eq(sequence.overrun | (front.status == Status.CONTEXT)),
            faults.address_context.eq(Mux(front.status == Status.CONTEXT, front.fault_address, 0)),
            faults.run.eq(sequence.running),
            self._error_seen.eq(faults.fault & ~was_fault),
        ]

    def _count(self, m, registers, counters, sequence, units):
        """Performance counters, and the trace port: what each cycle was spent on."""
        m.d.sync += [  # a cycle late, as all of it comes from afar
            counters.clear.eq(sequence.start),
            counters.run.eq(sequence.running),
            counters.work.eq(units["array"].issue),
            counters.beat.eq(self.m_axi.rvalid & self.m_axi.rready & (self.m_axi.rid == 0)),
            counters.prefill.eq(sequence.generated == 0),
            counters.reason.eq(stall_reasons(m, units)),
        ]
        m.d.comb += [
            counters.select.eq(registers.set_stall_select),
            registers.get_generated.eq(sequence.generated),
            self.activity.as_value().eq(activity(m, units, counters.charged)),
        ]
        shown = {"cycles": "cycles", "prefill_cycles": "prefill_cycles", "beats": "beats", "work": "work_cycles",
                 "stall": "stall"}
        for register, counter in shown.items():
            value = getattr(counters, counter)
            m.d.comb += [
                getattr(registers, f"get_{register}_lo").eq(value[:32]),
                getattr(registers, f"get_{register}_hi").eq(value[32:]),
            ]

    def _status(self, m, registers, sequence, faults, tokens, chain, softmax, quantiser, reader, fetch_port,
                writer, reset):
        """STATUS, the error address and the identity of the build."""
        config = self.config
        done = Signal()
        saturated = Signal()
        waiting = Signal(16)
        with m.If(sequence.start):
            m.d.sync += [done.eq(0), saturated.eq(0)]
        with m.Elif(sequence.finished):
            m.d.sync += done.eq(1)
        token_in, token_out = tokens.i.valid & tokens.i.ready, tokens.o.valid & tokens.o.ready
        m.d.sync += waiting.eq(waiting + token_in - token_out)
        # The largest finite value comes only from clipping. Lanes that no token uses hold anything;
        # logits are those of the last token's phase.
        last_lane = (sequence.state.tokens - 1)[:config.lane_bits]
        tokens_mask = Cat(Const(1), *(lane <= last_lane for lane in range(1, config.lanes)))
        lost = Signal(4)
        m.d.sync += lost.eq(Cat(
            chain.clipped,
            chain.logits.valid & (tokens_mask & fp32.clipped(chain.logits.payload)).any(),
            *(rows.valid & rows.ready & (mask & fp32.clipped(rows.payload)).any()
              for rows, mask in ((chain.o, quantiser.mask), (softmax.o, quantiser.command.p.mask)))))
        with m.If(lost.any()):
            m.d.sync += saturated.eq(1)
        with m.If(reset):
            m.d.sync += [done.eq(0), saturated.eq(0), waiting.eq(0)]
        idle_bus = reader.idle & fetch_port.idle & writer.idle
        m.d.comb += [
            registers.get_status.eq(Cat(sequence.running, done, faults.fault, saturated, idle_bus)
                                    | (faults.code << 8) | (waiting << 16)),
            registers.get_error_address_lo.eq(faults.address[:32]),
            registers.get_error_address_hi.eq(faults.address[32:]),
            registers.get_id.eq(0x53434F56),
            registers.get_version.eq(0x0001_0000),
            registers.get_shape.eq(config.bus_bytes << 16 | config.rows << 8 | config.lanes),
            registers.get_shape2.eq(config.dot_width << 8 | config.act_bits),
        ]
