"""The chip: the block diagram of docs/design.md, wired."""

from amaranth.hdl import Cat, Const, Module, Mux, ResetInserter, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from scoville.array.array import DotArray
from scoville.array.operand import OperandBuffer
from scoville.attention.kv_store import KvStore
from scoville.attention.pages import PageWalker
from scoville.attention.softmax import Softmax
from scoville.checks import check
from scoville.control.accounting import activity, stall_reasons
from scoville.control.activity import activity_layout
from scoville.control.front_end import FrontEnd
from scoville.control.host_port import HostPort
from scoville.control.instruction_fetch import InstructionFetch
from scoville.control.logits_place import LogitsPlace
from scoville.control.monitor import FaultLatch, PerformanceCounters
from scoville.control.queue import Queue
from scoville.control.register_file import RegisterFile
from scoville.control.rest import QUEUED, Rest
from scoville.epilogue.chain import Chain
from scoville.epilogue.quantiser import Quantiser
from scoville.epilogue.router import Router
from scoville.epilogue.vectors import VectorUnit
from scoville.isa import INSTRUCTION_BYTES
from scoville.issue.issue import Issue
from scoville.memory import axi
from scoville.memory.axi import ErrorKind
from scoville.memory.dump import LogitsDump
from scoville.memory.fetch_port import FetchPort, ReadMux
from scoville.memory.reader import StreamReader
from scoville.memory.window import Window
from scoville.memory.write_arbiter import WriteArbiter
from scoville.memory.writer import StreamWriter
from scoville.numerics import fp32
from scoville.registers import IDENTITY, VERSION, Status, address_of, usable
from scoville.sampler.sampler import Sampler
from scoville.schedule.sequence import STOPS, SequenceController
from scoville.slices import Skid
from scoville.weights.decoder import WeightDecoder

__all__ = ["Top"]

INSTRUCTION_QUEUE = 8


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

        # A soft reset clears all but the settings and the host's side. It takes effect once no bus transaction is open:
        # after a fault, or once a reset is wanted, no read begins, and what the stream still brings is dropped; nor
        # does a write begin once a reset is wanted.
        m.submodules.host = host = HostPort()
        reset, stop = host.reset, host.stop

        parts = {}

        def unit(name, component):
            parts[name] = component
            setattr(m.submodules, name, ResetInserter(reset)(component))
            return component

        # Memory side.
        reader = unit("reader", StreamReader(config))
        fetch_port = unit("fetch_port", FetchPort(config, clients=3))
        read_mux = unit("read_mux", ReadMux(config))
        walker = unit("page_walker", PageWalker(config))
        writer = unit("writer", StreamWriter(config))
        arbiter = unit("write_arbiter", WriteArbiter(config))
        window = unit("window", Window(config))
        # Datapath.
        beats = unit("beats", Skid(config.bus_bits))  # the reader's FIFO and the decoder's walk do not see each other
        decoder = unit("decoder", WeightDecoder(config))
        vectors = unit("vectors", VectorUnit(config))
        operands = unit("operands", OperandBuffer(config))
        array = unit("array", DotArray(config))
        softmax = unit("softmax", Softmax(config))
        chain = unit("chain", Chain(config))
        quantiser = unit("quantiser", Quantiser(config))
        router = unit("router", Router(config))
        kv_store = unit("kv_store", KvStore(config))
        sampler = unit("sampler", Sampler(config))
        dump = unit("dump", LogitsDump(config))
        # Control.
        sequence = unit("sequence", SequenceController(config))
        instruction_fetch = unit("instruction_fetch", InstructionFetch(config))
        front = unit("front_end", FrontEnd(config))
        instructions = unit("instructions", Queue(8 * INSTRUCTION_BYTES, INSTRUCTION_QUEUE))
        back = unit("issue", Issue(config))
        logits_place = unit("logits_place", LogitsPlace(config))
        rest = unit("rest", Rest())
        counters = unit("counters", PerformanceCounters())
        faults = unit("faults", FaultLatch(config))

        # --- the weight stream -----------------------------------------------------------------------------------
        connect(m, reader.bus, read_mux.reader)
        connect(m, fetch_port.bus, read_mux.fetch)
        for manager in (read_mux, writer):
            for name, member in manager.bus.signature.members.items():
                ours, theirs = getattr(window.i, name), getattr(manager.bus, name)
                m.d.comb += ours.eq(theirs) if member.flow is Out else theirs.eq(ours)
        connect(m, window.bus, flipped(self.m_axi))
        connect(m, decoder.o, array.weights)
        connect(m, decoder.vector, vectors.vector)
        connect(m, decoder.exponents, softmax.exponents)
        connect(m, reader.o, beats.i)
        dropping = Signal()  # `stop`, a cycle later: a beat more or less is all the same to a decoder that is reset
        m.d.sync += dropping.eq(stop)
        m.d.comb += [
            decoder.i.payload.eq(beats.o.payload),
            decoder.i.valid.eq(beats.o.valid & ~dropping),
            beats.o.ready.eq(decoder.i.ready | dropping),
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
            writer.command.valid.eq(arbiter.command.valid & ~host.resetting),
            arbiter.command.ready.eq(writer.command.ready & ~host.resetting),
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
                response.p.data.eq(answer.p.data),
                response.p.error.eq(answer.p.error),
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
        assert tuple(units) == QUEUED
        for name, consumer in units.items():
            source = getattr(back, name)
            target = consumer.start if consumer is dump else consumer.command
            queue = unit(f"{name}_queue", Queue(source.payload.shape()))
            connect(m, source, queue.i)
            connect(m, queue.o, target)
            m.d.comb += rest.empty[name].eq(queue.empty)
        connect(m, back.task, array.task)
        connect(m, softmax.shift, back.shift)
        m.d.comb += [rest.busy[name].eq((units | {"array": array, "router": router})[name].busy)
                     for name in rest.busy.shape().members]
        m.d.comb += [
            back.probability_done.eq(router.probability_done),
            rest.sampled.eq(sampler.o.valid),
            rest.written.eq(writer.idle),
            back.quiet.eq(rest.quiet),
            back.settled.eq(rest.settled),
        ]

        self._settings(m, registers, sequence, instruction_fetch, walker, window, back, faults, logits_place,
                       front)
        m.d.comb += [
            sequence.start.eq(host.start),
            logits_place.start.eq(host.start),
            logits_place.next.eq(sequence.sampled.valid & sequence.sampled.ready),
            back.dump_base.eq(logits_place.address),
            sampler.dump_enable.eq(logits_place.enable),  # it changes between tokens
        ]
        self._faults(m, registers, host, faults, reader, fetch_port, writer, front, kv_store, instruction_fetch,
                     sequence, array)
        self._count(m, registers, host, counters, sequence, parts)
        self._host(m, registers, host, sequence, faults)
        m.d.comb += host.bus_idle.eq(reader.idle & fetch_port.idle & writer.idle)
        self._clipped(m, host, sequence, chain, softmax, quantiser)

        at_rest = Signal()
        m.d.comb += at_rest.eq(rest.quiet & rest.settled & reader.idle & instructions.empty)
        check(m, ~host.start | at_rest, "top: a sequence begins with nothing under way")
        check(m, ~back.done | stop | fault | at_rest, "top: nothing of a pass is left at its end")
        return m

    def _settings(self, m, registers, sequence, instruction_fetch, walker, window, back, faults, logits_place, front):
        """From the register file to the units."""
        ports = {
            "prompt": [sequence.prompt],
            "prompt_length": [sequence.prompt_length],
            "position": [sequence.first],
            "max_new": [sequence.max_new],
            "context": [sequence.context],
            "stop_count": [sequence.stop_count],
            "program": [instruction_fetch.base],
            "kv_base": [walker.kv_base],
            "kv_pages": [walker.kv_pages],
            "kv_page_bytes": [walker.page_bytes, front.page_bytes],
            "window_base": [window.base],
            "window_limit": [window.limit],
            "logits": [logits_place.first],
            "logits_stride": [logits_place.stride],
            "seed": [back.seed],
            "temperature": [back.invt],
            "watchdog": [faults.limit],
        } | {f"stop{index}": [sequence.stops[index]] for index in range(STOPS)}
        for name, targets in ports.items():
            value = getattr(registers, f"set_{name}", None)
            if value is None:
                value = Cat(getattr(registers, f"set_{name}_lo"), getattr(registers, f"set_{name}_hi"))
            for target in targets:
                width = len(target)
                assert usable(self.config, name.upper()).bit_length() <= width, f"{name} does not fit {width} bits"
                m.d.comb += target.eq(value)

    def _host(self, m, registers, host, sequence, faults):
        """The host's side: what it writes and reads, except the counters."""
        config = self.config
        connect(m, sequence.token, host.token)
        m.d.comb += [
            host.control.eq(registers.write_control),
            host.clear_events.eq(registers.write_irq_status),
            host.enable.eq(registers.set_irq_enable),
            host.pop.eq(registers.pop_token),
            host.running.eq(sequence.running),
            host.finished.eq(sequence.finished),
            host.fault.eq(faults.fault | registers.refused),
            host.code.eq(faults.code),
            registers.locked.eq(host.busy),
            registers.get_token.eq(host.shown),
            registers.get_irq_status.eq(host.events),
            registers.get_status.eq(host.status),
            registers.get_error_address_lo.eq(faults.address[:32]),
            registers.get_error_address_hi.eq(faults.address[32:]),
            registers.get_id.eq(IDENTITY),
            registers.get_version.eq(VERSION),
            registers.get_shape.eq(config.bus_bytes << 16 | config.rows << 8 | config.lanes),
            registers.get_shape2.eq(config.dot_width << 8 | config.act_bits),
            self.interrupt.eq(host.interrupt),
        ]

    def _faults(self, m, registers, host, faults, reader, fetch_port, writer, front, kv_store, instruction_fetch,
                sequence, array):
        """Everything that can go wrong, to the fault latch."""
        read_refused = reader.error & (reader.error_kind == ErrorKind.WINDOW)
        write_refused = writer.error & (writer.error_kind == ErrorKind.WINDOW)
        # An error is that of the beat that the fetch port shows in the same cycle.
        _, program, prompt = fetch_port.o
        failed, refused, fetch_error, fetch_refused = (Signal() for _ in range(4))
        failed_address, fetch_address = Signal(self.config.addr_bits), Signal(self.config.addr_bits)
        m.d.sync += [
            faults.progress.eq(array.issue | (self.m_axi.rvalid & self.m_axi.rready)
                               | (self.m_axi.wvalid & self.m_axi.wready)
                               | (sequence.token.valid & ~sequence.token.ready)),
            failed.eq(instruction_fetch.error | sequence.read_error),
            failed_address.eq(Mux(instruction_fetch.error, instruction_fetch.error_address, sequence.error_address)),
            refused.eq(Mux(instruction_fetch.error, program.p.refused, prompt.p.refused)),
            fetch_error.eq(failed),
            fetch_refused.eq(refused),
            fetch_address.eq(failed_address),
            faults.raise_setting.eq(registers.refused | host.misuse),
            faults.address_setting.eq(Mux(registers.refused, registers.refused_address, address_of("CONTROL"))),
        ]
        m.d.comb += [
            faults.raise_read_error.eq((reader.error & ~read_refused) | (fetch_error & ~fetch_refused)),
            faults.address_read_error.eq(Mux(reader.error & ~read_refused, reader.error_address, fetch_address)),
            faults.raise_write_error.eq(writer.error & ~write_refused),
            faults.address_write_error.eq(writer.error_address),
            faults.raise_illegal_instruction.eq(front.status == Status.ILLEGAL_INSTRUCTION),
            faults.address_illegal_instruction.eq(front.fault_address),
            faults.raise_token.eq(front.status == Status.TOKEN),
            faults.address_token.eq(front.fault_address),
            faults.raise_window.eq(read_refused | write_refused | (fetch_error & fetch_refused)),
            faults.address_window.eq(Mux(read_refused, reader.error_address,
                                         Mux(write_refused, writer.error_address, fetch_address))),
            faults.raise_page_fault.eq((front.status == Status.PAGE_FAULT) | kv_store.fault),
            faults.address_page_fault.eq(Mux(front.status == Status.PAGE_FAULT, front.fault_address,
                                             kv_store.fault_row)),
            faults.raise_context.eq(sequence.overrun | (front.status == Status.CONTEXT)),
            faults.address_context.eq(Mux(front.status == Status.CONTEXT, front.fault_address, 0)),
            faults.run.eq(sequence.running),
        ]

    def _count(self, m, registers, host, counters, sequence, units):
        """Performance counters, and the trace port: what each cycle was spent on."""
        m.d.sync += [  # a cycle late, as all of it comes from afar
            counters.clear.eq(host.start),
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

    def _clipped(self, m, host, sequence, chain, softmax, quantiser):
        """STATUS.saturated: an FP32 result was clipped."""
        config = self.config
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
        m.d.comb += host.clipped.eq(lost.any())
