"""The chip: a core, what schedules it, and the host's side, wired."""

from amaranth.hdl import Cat, Module, Mux, ResetInserter
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from scoville.checks import check
from scoville.control.accounting import activity, stall_reasons
from scoville.control.activity import activity_layout
from scoville.control.faults import FaultUnit
from scoville.control.host_port import HostPort
from scoville.control.logits_place import LogitsPlace
from scoville.control.monitor import PerformanceCounters
from scoville.control.register_file import RegisterFile
from scoville.control.saturation import saturation
from scoville.core import Core
from scoville.kv.one import OneSlot
from scoville.memory import axi
from scoville.registers import IDENTITY, VERSION, address_of, usable
from scoville.schedule.sequence import STOPS, SequenceController

__all__ = ["Chip"]


class Chip(wiring.Component):
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
        # A soft reset clears all but the settings and the host's side. It takes effect once no bus transaction is open:
        # after a fault, or once a reset is wanted, no read begins, and what the stream still brings is dropped; nor
        # does a write begin once a reset is wanted.
        m.submodules.registers = registers = RegisterFile(config)
        m.submodules.host = host = HostPort()
        reset = ResetInserter(host.reset)
        core, sequence, place = Core(config), SequenceController(config), LogitsPlace(config)
        kv, faults, counters = OneSlot(config), FaultUnit(config), PerformanceCounters()
        m.submodules.core, m.submodules.sequence, m.submodules.logits_place = reset(core), reset(sequence), reset(place)
        m.submodules.kv, m.submodules.faults, m.submodules.counters = reset(kv), reset(faults), reset(counters)
        units = core.units | {"reader": core.port.reader, "writer": core.port.writer, "sequence": sequence}

        connect(m, flipped(self.s_axil), registers.bus)
        connect(m, core.bus, flipped(self.m_axi))
        for name in ("read", "append"):
            connect(m, getattr(core, name), getattr(kv, name))
            connect(m, getattr(kv, f"{name}_page"), getattr(core, f"{name}_page"))
        m.d.comb += kv.pages.eq(registers.set_kv_pages)
        connect(m, core.sampled, sequence.sampled)
        connect(m, sequence.token, host.token)
        m.d.comb += [
            core.state.eq(sequence.state), core.begin.eq(sequence.begin), sequence.pass_done.eq(core.done),
            core.request.payload.eq(sequence.request.payload), core.request.valid.eq(sequence.request.valid),
            sequence.request.ready.eq(core.request.ready),
            sequence.response.p.data.eq(core.response.p.data), sequence.response.p.error.eq(core.response.p.error),
            sequence.response.valid.eq(core.response.valid), core.response.ready.eq(sequence.response.ready),
            sequence.start.eq(host.start), place.start.eq(host.start), sequence.halt.eq(faults.fault),
            place.next.eq(sequence.sampled.valid & sequence.sampled.ready),
            core.sampling[0].logits.eq(place.address),
            core.stop.eq(host.stop), core.resetting.eq(host.resetting), core.fault.eq(faults.fault),
        ]
        self._settings(m, registers, core, sequence, place, faults)
        self._faults(m, registers, host, core, sequence, faults)
        self._host(m, registers, host, core, sequence, faults)
        self._count(m, registers, host, sequence, counters, units)
        m.d.comb += host.clipped.eq(saturation(m, config, units, sequence.state.tokens))
        check(m, ~host.start | core.rests, "chip: a sequence begins with nothing under way")
        return m

    def _settings(self, m, registers, core, sequence, place, faults):
        """From the register file to the units."""
        ports = {name: getattr(core.settings, name) for name in (
            "program", "kv_base", "kv_page_bytes", "window_base", "window_limit")}
        ports |= {name: getattr(sequence, name) for name in (
            "prompt", "prompt_length", "max_new", "context", "stop_count")}
        ports |= {f"stop{index}": sequence.stops[index] for index in range(STOPS)}
        ports |= {"seed": core.sampling[0].seed, "temperature": core.sampling[0].invt}
        ports |= {"position": sequence.first, "logits": place.first, "logits_stride": place.stride,
                  "watchdog": faults.limit}
        for name, target in ports.items():
            value = getattr(registers, f"set_{name}", None)
            if value is None:
                value = Cat(getattr(registers, f"set_{name}_lo"), getattr(registers, f"set_{name}_hi"))
            assert usable(self.config, name.upper()).bit_length() <= len(target), f"{name} does not fit"
            m.d.comb += target.eq(value)

    def _faults(self, m, registers, host, core, sequence, faults):
        """What can go wrong, and what counts as progress."""
        bus, token = self.m_axi, sequence.token
        m.d.comb += [
            faults.stream.eq(core.stream_trouble), faults.write.eq(core.write_trouble),
            faults.program.eq(core.program_trouble), faults.front.eq(core.front_report),
            faults.page.eq(core.page_fault), faults.page_number.eq(core.page_number),
            faults.prompt.error.eq(sequence.read_error), faults.prompt.address.eq(sequence.error_address),
            faults.prompt.refused.eq(core.response.p.refused),
            faults.overrun.eq(sequence.overrun),
            faults.setting.eq(registers.refused | host.misuse),
            faults.setting_address.eq(Mux(registers.refused, registers.refused_address, address_of("CONTROL"))),
            faults.progress.eq(core.units["array"].issue | (bus.rvalid & bus.rready) | (bus.wvalid & bus.wready)
                               | (token.valid & ~token.ready)),
            faults.run.eq(sequence.running),
        ]

    def _host(self, m, registers, host, core, sequence, faults):
        """The host's side: what it writes and reads, except the counters."""
        config = self.config
        m.d.comb += [
            host.control.eq(registers.write_control),
            host.clear_events.eq(registers.write_irq_status),
            host.enable.eq(registers.set_irq_enable),
            host.pop.eq(registers.pop_token),
            host.running.eq(sequence.running),
            host.finished.eq(sequence.finished),
            host.fault.eq(faults.fault | registers.refused),
            host.code.eq(faults.code),
            host.bus_idle.eq(core.bus_idle),
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

    def _count(self, m, registers, host, sequence, counters, units):
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
