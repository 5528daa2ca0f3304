"""Lattice ECP5: block RAMs with their output registers."""

from amaranth.hdl import ClockSignal, Const, Instance, Module

from scoville.board.bank import Bank

__all__ = ["Ecp5Bank"]

BITS = 16384  # of a block RAM, without the ninth of every byte
PORT = {"REGMODE": "NOREG", "CSDECODE": "0b000", "WRITEMODE": "NORMAL"}


class Ecp5Bank(Bank):
    """DP16KDs side by side, as narrow as they can be: written by port A, read by port B, which has its register.

    Names of ports and parameters: ECP5 and ECP5-5G memory usage guide (FPGA-TN-02204).

    Raises
    ------
    ValueError
        If a bank is deeper than a block RAM has bits.
    """

    def __init__(self, width, depth):
        if depth > BITS:
            raise ValueError(f"{depth} words; a bank of block RAMs has {BITS} at most")
        super().__init__(width, depth)

    def elaborate(self, platform):
        m = Module()
        shift = next(n for n in (3, 2, 1, 0) if self.depth <= BITS >> n)  # of an address: words of 2 ** shift bits
        bits = 1 << shift
        width = 9 if bits == 8 else bits
        ports = {f"i_{pin}": Const(value, 1) for side in "AB" for pin, value in (
            (f"CE{side}", 1), (f"OCE{side}", 1), (f"RST{side}", 0), *((f"CS{side}{n}", 0) for n in range(3)))}
        ports |= {"i_CLKA": ClockSignal(), "i_CLKB": ClockSignal(), "i_WEB": Const(0, 1)}
        ports |= {f"i_AD{side}{n}": address[n - shift] if 0 <= n - shift < len(address) else Const(0, 1)
                  for side, address in (("A", self.to), ("B", self.at)) for n in range(14)}
        modes = {f"p_{name}_{side}": value for side in "AB" for name, value in PORT.items()}
        modes |= {f"p_DATA_WIDTH_{side}": width for side in "AB"} | {"p_REGMODE_B": "OUTREG", "p_RESETMODE": "SYNC"}
        for first in range(0, self.width, bits):
            m.submodules[f"bits{first}"] = Instance(
                "DP16KD", **modes, **ports, i_WEA=self.enables[first // 8],
                **{f"i_DIA{n}": self.data[first + n] for n in range(bits)},
                **{f"o_DOB{n}": self.word[first + n] for n in range(bits)})
        return m
