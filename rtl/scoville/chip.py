"""The chip: a core, what schedules it, and the host's side, wired."""

from amaranth.hdl import Cat, Module, Mux, ResetInserter
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from scoville.checks import check
from scoville.control.accounting import activity, stall_reasons
from scoville.control.activity import activity_layout
from scoville.control.faults import FaultUnit
from scoville.control.host_port import HostPort
from scoville.control.monitor import PerformanceCounters
from scoville.control.register_file import RegisterFile
from scoville.control.saturation import saturation
from scoville.core import Core
from scoville.memory import axi
from scoville.registers import IDENTITY, VERSION, address_of, usable
from scoville.schedule.alone import Alone
from scoville.schedule.batch import BatchController

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
        m.submodules.host = host = HostPort(config)
        reset = ResetInserter(host.reset)
        core, faults, counters = Core(config), FaultUnit(config), PerformanceCounters()
        schedule = Alone(config) if config.slots == 1 else BatchController(config)
        m.submodules.core, m.submodules.schedule = reset(core), reset(schedule)
        m.submodules.faults, m.submodules.counters = reset(faults), reset(counters)
        units = core.units | {"reader": core.port.reader, "writer": core.port.writer, "schedule": schedule}

        connect(m, flipped(self.s_axil), registers.bus)
        connect(m, core.bus, flipped(self.m_axi))
        connect(m, core.sampled, schedule.sampled)
        connect(m, schedule.request, core.request)
        connect(m, core.response, schedule.response)
        for name in ("read", "append"):
            connect(m, getattr(core, name), getattr(schedule, name))
            connect(m, getattr(schedule, f"{name}_page"), getattr(core, f"{name}_page"))
        m.d.comb += [
            core.state.eq(schedule.state), core.sampling.eq(schedule.sampling), core.begin.eq(schedule.begin),
            schedule.pass_done.eq(core.done), schedule.start.eq(host.start), schedule.halt.eq(faults.fault),
            core.stop.eq(host.stop), core.resetting.eq(host.resetting), core.fault.eq(faults.fault),
        ]
        (self._alone if config.slots == 1 else self._batch)(m, registers, host, core, schedule, faults, counters)
        self._settings(m, registers, core.settings, ("program", "kv_base", "kv_page_bytes", "window_base",
                                                     "window_limit"))
        self._settings(m, registers, schedule.settings, schedule.settings.shape().members)
        self._faults(m, registers, host, core, schedule, faults)
        self._host(m, registers, host, core, schedule, faults)
        self._count(m, registers, host, schedule, counters, units)
        m.d.comb += host.clipped.eq(saturation(m, config, units, schedule.state.tokens))
        check(m, ~host.start | core.rests, "chip: what runs begins with nothing under way")
        return m

    def _alone(self, m, registers, host, core, schedule, faults, counters):
        """What only a chip of one slot has."""
        connect(m, schedule.token, host.token)
        m.d.sync += counters.prefill.eq(schedule.generated == 0)  # as late as what `_count` gives
        m.d.comb += [
            host.finished.eq(schedule.finished), host.pop.eq(registers.pop_token), registers.get_token.eq(host.shown),
            faults.overrun.eq(schedule.overrun), registers.get_generated.eq(schedule.generated),
            registers.get_prefill_cycles_lo.eq(counters.prefill_cycles[:32]),
            registers.get_prefill_cycles_hi.eq(counters.prefill_cycles[32:]),
        ]

    def _batch(self, m, registers, host, core, schedule, faults, counters):
        """What only a chip of several slots has."""
        connect(m, schedule.write_command, core.write_command)
        connect(m, schedule.write_data, core.write_data)
        m.d.comb += [
            schedule.writes_idle.eq(core.writes_idle), schedule.rest.eq(core.pages_rest),
            schedule.submit_strobe.eq(registers.rung_submit_tail),
            schedule.submit_count.eq(registers.set_submit_tail),
            schedule.complete_strobe.eq(registers.rung_complete_head),
            schedule.complete_count.eq(registers.set_complete_head),
            registers.get_submit_head.eq(schedule.submit_head), registers.get_complete_tail.eq(schedule.complete_tail),
            host.posted.eq(schedule.posted),
        ]

    def _settings(self, m, registers, unit, names):
        """From the register file to a unit's ports, or to a record of them."""
        for name in names:
            target = getattr(unit, name)
            value = getattr(registers, f"set_{name}", None)
            if isinstance(target, data.View):  # a register a cache group
                target, name = target[0], f"{name}0"
                value = getattr(registers, f"set_{name}")
            if value is None:
                value = Cat(getattr(registers, f"set_{name}_lo"), getattr(registers, f"set_{name}_hi"))
            assert usable(self.config, name.upper()).bit_length() <= len(target), f"{name} does not fit"
            m.d.comb += target.eq(value)

    def _faults(self, m, registers, host, core, schedule, faults):
        """What can go wrong, and what counts as progress."""
        bus = self.m_axi
        m.d.comb += [
            faults.stream.eq(core.stream_trouble), faults.write.eq(core.write_trouble),
            faults.program.eq(core.program_trouble), faults.front.eq(core.front_report),
            faults.page.eq(core.page_fault), faults.page_number.eq(core.page_number),
            faults.prompt.error.eq(schedule.read_error), faults.prompt.address.eq(schedule.error_address),
            faults.prompt.refused.eq(schedule.refused),
            faults.setting.eq(registers.refused | host.misuse), faults.limit.eq(registers.set_watchdog),
            faults.setting_address.eq(Mux(registers.refused, registers.refused_address, address_of("CONTROL"))),
            faults.progress.eq(core.units["array"].issue | (bus.rvalid & bus.rready) | (bus.wvalid & bus.wready)
                               | schedule.held),
            faults.run.eq(schedule.running),
        ]

    def _host(self, m, registers, host, core, schedule, faults):
        """The host's side: what it writes and reads, except the counters."""
        config = self.config
        m.d.comb += [
            host.control.eq(registers.write_control),
            host.clear_events.eq(registers.write_irq_status),
            host.enable.eq(registers.set_irq_enable),
            host.running.eq(schedule.running),
            host.fault.eq(faults.fault | registers.refused),
            host.code.eq(faults.code),
            host.bus_idle.eq(core.bus_idle),
            registers.locked.eq(host.busy),
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

    def _count(self, m, registers, host, schedule, counters, units):
        """Performance counters, and the trace port: what each cycle was spent on."""
        m.d.sync += [  # a cycle late, as all of it comes from afar
            counters.clear.eq(host.start),
            counters.run.eq(schedule.running),
            counters.work.eq(units["array"].issue),
            counters.beat.eq(self.m_axi.rvalid & self.m_axi.rready & (self.m_axi.rid == 0)),
            counters.reason.eq(stall_reasons(m, units, self.config.slots > 1)),
        ]
        m.d.comb += [
            counters.select.eq(registers.set_stall_select),
            self.activity.as_value().eq(activity(m, units, counters.charged)),
        ]
        shown = {"cycles": "cycles", "beats": "beats", "work": "work_cycles", "stall": "stall"}
        for register, counter in shown.items():
            value = getattr(counters, counter)
            m.d.comb += [
                getattr(registers, f"get_{register}_lo").eq(value[:32]),
                getattr(registers, f"get_{register}_hi").eq(value[32:]),
            ]
