"""A component whose inside a claim may read: invariants speak of registers that no port shows."""

from amaranth.hdl import Const, Elaboratable, Fragment, Signal
from amaranth.hdl._mem import MemoryInstance

__all__ = ["Opened"]


class Opened(Elaboratable):
    """The component, elaborated once; use it as the submodule in place of the component.

    A name is a path: the submodules' names, then the signal's, joined by points (``skid.spare``).

    Parameters
    ----------
    component : Elaboratable
    """

    def __init__(self, component):
        self.component = component
        self._fragment = Fragment.get(component, None)
        self._signals, self._memories = {}, {}
        self.parts = []  # every component inside, itself included
        self._walk(self._fragment, ())

    def _walk(self, fragment, path):
        self.parts += [origin for origin in fragment.origins or () if isinstance(origin, Elaboratable)]
        if isinstance(fragment, MemoryInstance):
            self._memories[".".join(path)] = fragment
            return
        for statements in fragment.statements.values():
            for signal in statements._lhs_signals():
                self._signals.setdefault(".".join((*path, signal.name)), []).append(signal)
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
        found = list({id(signal): signal for signal in self._signals.get(path, [])}.values())
        if len(found) != 1:
            raise KeyError(f"{len(found)} signals have the path {path!r}; there are: {', '.join(self.names())}")
        return found[0]

    def word(self, path, address):
        """What the memory of this path holds at `address`, through a read port of the claim's own."""
        memory = self._memories[path]
        depth = memory._data.depth
        word = Signal(memory._data.shape, name=f"word_{len(memory._read_ports)}")
        memory.read_port(domain="comb", addr=(address + Const(0, 1))[:max(0, (depth - 1).bit_length())], data=word,
                         en=Const(1), transparent_for=())
        return word
