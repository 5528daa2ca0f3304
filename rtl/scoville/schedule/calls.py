"""Steps that several states of a machine share, with a way back to each: a subroutine's return address."""

from amaranth.hdl import Module, Signal

__all__ = ["Call"]


class Call:
    """States call it with the state to go on in; its last state returns.

    Parameters
    ----------
    m : Module
    name : of the register, and of the first state
    """

    def __init__(self, m: Module, name):
        self.name, self._m, self._states = name, m, []
        self._back = Signal(4, name=f"{name.lower()}_back")

    def __call__(self, then):
        """In a state of the machine: go there, and on to the state `then`."""
        if then not in self._states:
            self._states.append(then)
        assert len(self._states) <= 1 << len(self._back)
        self._m.d.sync += self._back.eq(self._states.index(then))
        self._m.next = self.name

    def back(self):
        """In the last state: return. All calls have to come before it in the text."""
        with self._m.Switch(self._back):
            for number, state in enumerate(self._states):
                with self._m.Case(number):
                    self._m.next = state
