"""Claims about one component, whose inputs are free and whose inside may be read."""

from amaranth.hdl import Module, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from formal.opened import Opened
from formal.proof import Claim

__all__ = ["Around", "drive", "inputs_of"]


def inputs_of(component, *, but=()):
    """A claim's members: free inputs for those of a component, flat, except for the members named in `but`."""
    return {"__".join(map(str, path)): In(len(Value.cast(value)))
            for path, member, value in component.signature.flatten(component)
            if member.flow is wiring.In and path[0] not in but}


def drive(m, claim, component):
    """Joins a claim's free inputs with the component's, by the names of `inputs_of`."""
    for path, member, value in component.signature.flatten(component):
        name = "__".join(map(str, path))
        if member.flow is wiring.In and name in claim.signature.members:
            m.d.comb += Value.cast(value).eq(getattr(claim, name))


class Around(Claim):
    """A claim about `unit`, a wiring.Component; a class names in `free` further bits that are free."""

    free: tuple[str, ...] = ()

    def __init__(self, unit):
        super().__init__(inputs_of(unit) | dict.fromkeys(self.free, In(1)))
        self.unit = unit

    def begin(self):
        """(Module, Opened): what `elaborate` adds to, with the component in it and its inputs driven."""
        m = Module()
        m.submodules.unit = seen = Opened(self.unit)
        drive(m, self, self.unit)
        return m, seen
