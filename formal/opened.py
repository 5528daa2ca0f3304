"""A component whose inside a claim may read: invariants speak of registers that no port shows."""

import contextlib
import sys

from amaranth.hdl import Const, Elaboratable, Fragment, Signal, ValueCastable
from amaranth.hdl._mem import MemoryInstance

__all__ = ["Opened"]


class Opened(Elaboratable):
    """The component, elaborated once; use it as the submodule in place of the component.

    A name is a path: the submodules' names, then the variable's in `elaborate` (or in a method that it calls), or the
    signal's own, joined by points (``skid.spare``).

    Parameters
    ----------
    component : Elaboratable
    """

    def __init__(self, component):
        self.component = component
        self._variables = {}  # of each component inside, by its id
        before = sys.getprofile()
        sys.setprofile(self._returns)
        try:
            self._fragment = Fragment.get(component, None)
        finally:
            sys.setprofile(before)
        self._signals, self._memories = {}, {}
        self.parts = []  # every component inside, itself included
        self._walk(self._fragment, ())

    def _returns(self, frame, event, _):
        """Keeps the variables of a component's method at its end: only some of them name their signals."""
        owner = frame.f_locals.get("self") if event == "return" else None
        if isinstance(owner, Elaboratable) and "m" in frame.f_locals:
            variables = self._variables.setdefault(id(owner), {})
            for name, value in frame.f_locals.items():
                if isinstance(value, ValueCastable) and hasattr(value, "as_value"):
                    value = value.as_value()
                if isinstance(value, Signal):
                    variables[name] = value

    def _name(self, path, name, signal):
        self._signals.setdefault(".".join((*path, name)), {})[id(signal)] = signal

    def _walk(self, fragment, path):
        parts = [origin for origin in fragment.origins or () if isinstance(origin, Elaboratable)]
        self.parts += parts
        if isinstance(fragment, MemoryInstance):
            self._memories[".".join(path)] = fragment
            return
        named = {name: signal for part in parts for name, signal in self._variables.get(id(part), {}).items()}
        for name, signal in named.items():
            self._name(path, name, signal)
        for statements in fragment.statements.values():
            for signal in statements._lhs_signals():
                self._name(path, signal.name, signal)
        for number, (child, name, _) in enumerate(fragment.subfragments):
            self._walk(child, (*path, name or f"U${number}"))

    def elaborate(self, platform):
        return self._fragment

    def names(self):
        """Every path there is."""
        return sorted([*self._signals, *self._memories])

    def __getitem__(self, path):
        """The signal of this path.

        Raises
        ------
        KeyError
            If there is none, or several of that name.
        """
        found = list(self._signals.get(path, {}).values())
        if len(found) != 1:
            raise KeyError(f"{len(found)} signals have the path {path!r}; there are: {', '.join(self.names())}")
        return found[0]

    def states(self, path="fsm_state"):
        """Which state an FSM is in: the state's name to a 1-bit value."""
        state = self[path]
        numbers = {}
        for number in range(1 << len(state)):
            with contextlib.suppress(KeyError):  # the decoder, for waves, knows its own numbers only
                numbers[state.decoder(number).partition("/")[0]] = number
        return {name: state == number for name, number in numbers.items()}

    def word(self, path, address):
        """What the memory of this path holds at `address`, through a read port of the claim's own."""
        memory = self._memories[path]
        depth = memory._data.depth
        word = Signal(memory._data.shape, name=f"word_{len(memory._read_ports)}")
        memory.read_port(domain="comb", addr=(address + Const(0, 1))[:max(0, (depth - 1).bit_length())], data=word,
                         en=Const(1), transparent_for=())
        return word
