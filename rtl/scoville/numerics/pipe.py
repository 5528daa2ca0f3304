"""A pipeline builder that counts registers, so that values which meet are always of the same age."""

import sys

from amaranth.hdl import Cat, Const, Module, Shape, Signal, ValueLike
from amaranth.hdl import Value as HdlValue
from amaranth.lib import stream, wiring

from .multiplier import Multiplier

__all__ = ["Pipe", "PipeUnit", "Staged"]


class Staged:
    """A value `at` cycles after the pipe's input. Constants have ``at = None``: they are of every age."""

    def __init__(self, value, at):
        self.value = value
        self.at = at
        self._delayed = {at: value}


class Pipe:
    """Builds a pipeline whose registers all move when `enable` is high.

    Parameters
    ----------
    m : Module
    enable : 1-bit value; every register of the pipe holds while it is low.
    occupied : None, or a register, high while a valid item is behind one of the pipe's registers. While it is low only
        the first ones move: what the others carry is of no use.
    flags : None, or a list to which every operation that can saturate appends its 1-bit overflow as a `Staged`.
    """

    def __init__(self, m, enable=1, flags=None, occupied=None):
        self.m = m
        self.enable = self.moves = enable
        self.occupied = occupied
        if occupied is not None:
            self.moves = Signal(name="moves")
            m.d.comb += self.moves.eq(enable & occupied)
        self.flags = flags
        self._names = 0

    def input(self, value, at=0):
        """A value that arrives with the pipe's input (or `at` cycles after it)."""
        return Staged(value, at)

    def _name(self):
        """A new name, which begins with that of the function that builds: a timing report should say where it is."""
        self._names += 1
        frame = sys._getframe(2)
        while frame.f_code.co_name.startswith("<"):  # a generator or a lambda
            frame = frame.f_back
        return f"{frame.f_code.co_name.strip('_')}_{self._names}"

    def enabled(self, at):
        """Whether registers that take values of age `at` move."""
        return self.moves if at > 0 else self.enable

    def reg(self, value, at, name=None):
        """`value`, made combinationally of values of age `at`, behind one register."""
        value = value if not isinstance(value, int) else Const(value)
        plain = HdlValue.cast(value)
        register = Signal(value.shape() if hasattr(value, "shape") else plain.shape(), reset_less=True,
                          name=name or self._name())
        with self.m.If(self.enabled(at)):
            self.m.d.sync += register.eq(value)
        return Staged(register, at + 1)

    def product(self, a, b, at, stages=1):
        """a * b, of at most 18 bits each, behind registers: a `Multiplier`, which may be a vendor's block."""
        unit = Multiplier(a.shape(), b.shape(), stages)
        name = self._name()
        while hasattr(self.m.submodules, name):  # another pipe of this module has it
            name += "_"
        self.m.submodules[name] = unit
        self.m.d.comb += [unit.enable.eq(self.enabled(at)), unit.a.eq(a), unit.b.eq(b)]
        return Staged(unit.o, at + stages)

    def wire(self, value):
        """`value` behind a name of its own, so that an expression used often is written once."""
        wire = Signal(value.shape(), name=self._name())
        self.m.d.comb += wire.eq(value)
        return wire

    def flag(self, overflow, at):
        """Record an overflow bit made of values of age `at`, if the parent asked for flags."""
        if self.flags is not None:
            self.flags.append(self.reg(overflow, at))

    def any_flag(self):
        """The OR of all recorded flags, of the age of the youngest: qualify it with the valid bit of that age."""
        at, values = self.align(*self.flags)
        return Staged(Cat(*values).any(), at)

    def delay(self, staged, at):
        """The HDL value of `staged` at age `at`. Delays of one value share their registers."""
        if not isinstance(staged, Staged):
            return staged
        if staged.at is None:
            return staged.value
        if at < staged.at:
            raise ValueError(f"a value of age {staged.at} is asked for at age {at}")
        for age in range(staged.at + 1, at + 1):
            if age not in staged._delayed:
                staged._delayed[age] = self.reg(staged._delayed[age - 1], age - 1).value
        return staged._delayed[at]

    def align(self, *staged):
        """(age, values): the values delayed to the age of the youngest that is not a constant."""
        ages = [s.at for s in staged if isinstance(s, Staged) and s.at is not None]
        at = max(ages)
        return at, [self.delay(s, at) for s in staged]

    def valids(self, valid, at):
        """Valid bits of ages 1 to `at`, as one signal."""
        valids = Signal(at)
        with self.m.If(self.enable):
            self.m.d.sync += valids.eq(Cat(valid, valids[:-1]))
        return valids

    def occupy(self, valid, at):
        """As `valids`, for all that the pipe carries: `occupied` says whether any of them is high."""
        valids = self.valids(valid, at)
        with self.m.If(self.enable):
            self.m.d.sync += self.occupied.eq(valid | valids[:-1].any())  # a register instead of a wide gate
        return valids

    def valid(self, valid, at):
        """A valid bit carried to age `at` through resettable registers."""
        for _ in range(at):
            register = Signal(name="pipe_valid")
            with self.m.If(self.enable):
                self.m.d.sync += register.eq(valid)
            valid = register
        return valid


class PipeUnit(wiring.Component):
    """A pipe function as a stream component, for units that stand alone and for their tests.

    Parameters
    ----------
    function : callable ``(pipe, staged_input) -> Staged``
    i_shape, o_shape : payload shapes

    Members
    -------
    i : In(stream)
    o : Out(stream)
    latency : cycles from `i` to `o` at full throughput.
    """

    def __init__(self, function, i_shape, o_shape):
        super().__init__({"i": wiring.In(stream.Signature(i_shape)), "o": wiring.Out(stream.Signature(o_shape))})
        # built here and not in elaborate(), because only the building counts the registers
        self._module = m = Module()
        enable = Signal()
        pipe = Pipe(m, enable)
        result = function(pipe, pipe.input(self.i.payload))
        self.latency = result.at
        m.d.comb += [
            enable.eq(self.o.ready | ~self.o.valid),
            self.i.ready.eq(enable),
            self.o.valid.eq(pipe.valid(self.i.valid, result.at)),
            self.o.payload.eq(result.value),
        ]

    def elaborate(self, platform):
        return self._module


def width_of(value: ValueLike) -> int:
    """Bits of a value, for assertions at narrowings."""
    return Shape.cast(HdlValue.cast(value).shape()).width
