"""The units that `timing.py` measures, and the registers that it puts round each."""

from dataclasses import replace

from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from scoville.array.array import DotArray
from scoville.array.drain import Drain
from scoville.array.lane import Lane
from scoville.array.operand import OperandBuffer
from scoville.attention.denominator import Denominator
from scoville.attention.kv_store import KvStore
from scoville.attention.softmax import Softmax
from scoville.board.sdram import SdramController
from scoville.board.sdram_timing import part
from scoville.control.checker import Checker
from scoville.control.faults import FaultUnit
from scoville.control.front_end import FrontEnd
from scoville.control.host_port import HostPort
from scoville.control.instruction_fetch import InstructionFetch
from scoville.control.logits_place import LogitsPlace
from scoville.control.monitor import FaultLatch, PerformanceCounters
from scoville.control.queue import Queue
from scoville.control.register_file import RegisterFile
from scoville.control.rest import Rest
from scoville.epilogue.chain import Chain
from scoville.epilogue.norm import RmsUnit
from scoville.epilogue.pair import PairStage
from scoville.epilogue.quantiser import Quantiser
from scoville.epilogue.router import Router
from scoville.epilogue.vectors import VectorUnit
from scoville.isa import INSTRUCTION_BYTES
from scoville.issue.attend import AttendIssuer
from scoville.issue.issue import Issue
from scoville.issue.linear import LinearIssuer
from scoville.issue.rows import RowIssuer
from scoville.kv.address import PageAddress
from scoville.kv.controller import KvController
from scoville.kv.one import OneSlot
from scoville.memory.dump import LogitsDump
from scoville.memory.fetch_arbiter import FetchArbiter
from scoville.memory.fetch_port import FetchPort, ReadMux
from scoville.memory.reader import StreamReader
from scoville.memory.tile_dump import TileDump
from scoville.memory.window import Window
from scoville.memory.words import WordReader
from scoville.memory.write_arbiter import WriteArbiter
from scoville.memory.writer import StreamWriter
from scoville.numerics.block import ScaleMul
from scoville.numerics.fp32 import Fp32Add, Fp32FromInt, Fp32Mul
from scoville.numerics.sigmoid import Sigmoid
from scoville.numerics.table import Exp2, Log2, Recip, Rsqrt
from scoville.program.plan_attend import AttendPlan
from scoville.sampler.noise import GumbelNoise
from scoville.sampler.sampler import Sampler
from scoville.schedule.completion import CompletionRing
from scoville.schedule.harvest import Harvest
from scoville.schedule.intake import Intake
from scoville.schedule.judge import Judge
from scoville.schedule.kept import Kept
from scoville.schedule.outbox import Outbox
from scoville.schedule.planner import Planner
from scoville.schedule.seater import Seater
from scoville.schedule.sequence import SequenceController
from scoville.schedule.stops import StopCheck
from scoville.schedule.submission import SubmissionRing
from scoville.schedule.token_writer import TokenWriter
from scoville.schedule.tokens import TokenReader
from scoville.slices import Skid
from scoville.weights.decoder import WeightDecoder

__all__ = ["UNITS", "Registered"]


def _of_many(unit):
    """A unit that only chips of several slots have: of two at least."""
    return lambda config: unit(replace(config, slots=max(2, config.slots)))


UNITS = {
    "fp32_add": lambda config: Fp32Add(),
    "fp32_mul": lambda config: Fp32Mul(),
    "fp32_from_int": lambda config: Fp32FromInt(signed(48)),
    "scale_mul": lambda config: ScaleMul(),
    "exp2": lambda config: Exp2(),
    "recip": lambda config: Recip(),
    "rsqrt": lambda config: Rsqrt(),
    "log2": lambda config: Log2(),
    "sigmoid": lambda config: Sigmoid(),
    "stream_reader": StreamReader,
    "fetch_port": lambda config: FetchPort(config, clients=3),
    "read_mux": ReadMux,
    "window": Window,
    "stream_writer": StreamWriter,
    "write_arbiter": WriteArbiter,
    "logits_dump": LogitsDump,
    "tile_dump": _of_many(TileDump),
    "skid": lambda config: Skid(config.bus_bits),
    "weight_decoder": WeightDecoder,
    "vector_unit": VectorUnit,
    "operand_buffer": OperandBuffer,
    "lane": Lane,
    "drain": Drain,
    "dot_array": DotArray,
    "page_address": PageAddress,
    "kv_store": KvStore,
    "kv_controller": KvController,
    "one_slot": OneSlot,
    "denominator": Denominator,
    "softmax": Softmax,
    "rms_unit": RmsUnit,
    "pair_stage": PairStage,
    "chain": Chain,
    "quantiser": Quantiser,
    "router": Router,
    "gumbel_noise": GumbelNoise,
    "sampler": Sampler,
    "sequence_controller": SequenceController,
    "instruction_fetch": InstructionFetch,
    "checker": Checker,
    "front_end": FrontEnd,
    "plan_attend": AttendPlan,
    "linear": LinearIssuer,
    "rows": RowIssuer,
    "attend": AttendIssuer,
    "issue": Issue,
    "word_reader": WordReader,
    "token_reader": TokenReader,
    "stop_check": StopCheck,
    "judge": Judge,
    "planner": _of_many(Planner),
    "seater": _of_many(Seater),
    "harvest": _of_many(Harvest),
    "intake": _of_many(Intake),
    "outbox": _of_many(Outbox),
    "kept": _of_many(Kept),
    "token_writer": _of_many(TokenWriter),
    "fetch_arbiter": lambda config: FetchArbiter(config, clients=3),
    "submission_ring": SubmissionRing,
    "completion_ring": CompletionRing,
    "queue": lambda config: Queue(8 * INSTRUCTION_BYTES, 8),
    "performance_counters": lambda config: PerformanceCounters(),
    "fault_latch": FaultLatch,
    "fault_unit": FaultUnit,
    "host_port": HostPort,
    "logits_place": LogitsPlace,
    "rest": lambda config: Rest(),
    "register_file": RegisterFile,
    "sdram_controller": lambda config: SdramController(config, part("as4c16m16sa_7", 90_000_000)),
}
"""From names to functions that make a unit of a configuration."""


class Registered(wiring.Component):
    """A unit with a register on every bit of every port, so that each of its paths begins and ends in a register.

    The registers in front (``to_*``) are a shift register and those behind (``from_*``) are folded into another one
    (``scan``), so that the whole needs two pins, however many ports the unit has.

    Parameters
    ----------
    unit : wiring.Component

    Members
    -------
    serial_in : In(1)
    serial_out : Out(1)
    """

    PREFIXES = ("to_", "from_", "scan")
    """How the names of the added registers begin."""

    def __init__(self, unit):
        self.unit = unit
        super().__init__({"serial_in": In(1), "serial_out": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = self.unit
        before, after = [], []
        for path, member, value in self.unit.signature.flatten(self.unit):
            value = value.as_value() if hasattr(value, "as_value") else value
            name = "_".join(map(str, path))
            kind, into = ("to", before) if member.flow is In else ("from", after)
            register = Signal(len(value), name=f"{kind}_{name}", reset_less=True, attrs={"keep": 1})
            into.append(register)
            if member.flow is In:
                m.d.comb += value.eq(register)
            else:
                m.d.sync += register.eq(value)
        chain = Cat(before)
        m.d.sync += chain.eq(Cat(self.serial_in, chain[:-1]))
        scan = Signal(len(Cat(after)), reset_less=True, attrs={"keep": 1})
        m.d.sync += scan.eq(Cat(self.serial_in, scan[:-1]) ^ Cat(after))
        m.d.comb += self.serial_out.eq(scan[-1])
        return m
