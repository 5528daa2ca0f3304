"""The SDRAM part's model: it stores and returns words, and notices each rule that is broken."""

import pytest
from scoville.board.sdram_timing import part
from sdram_part import SdramPart

ACT, READ, WRITE, PRE, REF, MRS, NOP = 0b011, 0b101, 0b100, 0b010, 0b001, 0b000, 0b111
ALL = 1 << 10
TIMING = part("as4c16m16sa_7", 100_000_000, t_init=100)  # 10 ns a clock
MODE = 3 << 4 | 2  # CAS latency 3, bursts of 4


class Driver:
    """Commands at the clocks of the caller's choice; what the part drove is in `seen`, by clock."""

    def __init__(self, refreshes=8, started=True):
        self.part, self.seen = SdramPart(TIMING), {}
        if started:
            self.idle(10)
            self.do(PRE, a=ALL, wait=3)
            for _ in range(refreshes):
                self.do(REF, wait=7)
            self.do(MRS, a=MODE, wait=2)

    def do(self, command=NOP, ba=0, a=0, *, wait=1, dq=None, dqm=0):
        word = self.part.edge(clk_en=1, cs_n=0, command=command, ba=ba, a=a, dqm=dqm, dq=dq or 0, dq_oe=dq is not None)
        self.seen[self.part.now] = word
        self.idle(wait - 1)

    def idle(self, clocks):
        for _ in range(clocks):
            self.do()

    def write(self, words, wait=1, column=0):
        self.do(WRITE, a=column, dq=words[0])
        for word in words[1:]:
            self.do(dq=word)
        self.idle(wait - 1)


def test_words_come_back():
    driver = Driver()
    driver.do(ACT, a=5, wait=3)
    driver.write([1, 2, 3, 4])
    driver.do(READ, wait=8)
    at = driver.part.now - 8
    assert [driver.seen[at + 3 + n] for n in range(4)] == [1, 2, 3, 4]
    assert driver.part.memory[5 << 11 | 1] == 2


def test_masked_bytes_stay():
    driver = Driver()
    driver.do(ACT, wait=3)
    driver.write([0x1111] * 4)
    driver.do(WRITE, dq=0x2222, dqm=1)
    for _ in range(3):
        driver.do(dq=0x2222, dqm=2)
    assert [driver.part.memory[n] for n in range(4)] == [0x2211, 0x1122, 0x1122, 0x1122]


def _opened(driver, wait=3):
    driver.do(ACT, wait=wait)
    return driver


BROKEN = {
    "before the end of the power-up": lambda: Driver(started=False).do(PRE),
    "MRS after 7 refreshes": lambda: Driver(refreshes=7),
    "tRCD": lambda: _opened(Driver(), wait=2).do(READ),
    "which is closed": lambda: Driver().do(READ),
    "which is open": lambda: _opened(Driver(), wait=9).do(ACT),
    "tRAS": lambda: _opened(Driver(), wait=4).do(PRE),
    "tRP": lambda: (lambda d: (d.do(PRE, wait=2), d.do(ACT)))(_opened(Driver(), wait=6)),
    "tRRD": lambda: _opened(Driver(), wait=1).do(ACT, ba=1),
    "tRFC": lambda: (lambda d: (d.do(REF, wait=6), d.do(ACT)))(Driver()),
    "tWR": lambda: (lambda d: (d.write([1] * 4), d.do(PRE)))(_opened(Driver(), wait=6)),
    "cuts a write short": lambda: (lambda d: (d.do(WRITE, dq=1), d.do(READ, dq=1)))(_opened(Driver())),
    "a read is cut short": lambda: (lambda d: (d.do(READ, wait=3), d.do(READ)))(_opened(Driver())),
    "no clock between": lambda: (lambda d: (d.do(READ, wait=7), d.write([1] * 4)))(_opened(Driver())),
    "REF with an open row": lambda: _opened(Driver(), wait=9).do(REF),
    "REF after PRE": lambda: (lambda d: (d.do(PRE, a=ALL, wait=2), d.do(REF)))(Driver()),
    "refresh is late": lambda: Driver().idle(TIMING.refresh_clocks),
    "auto precharge": lambda: _opened(Driver()).do(READ, a=ALL),
    "burst stop": lambda: Driver().do(0b110),
    "DQM": lambda: (lambda d: (d.do(READ), d.do(dqm=1), d.idle(4)))(_opened(Driver())),
    "are driven if and only if": lambda: Driver().do(dq=1),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_broken_rule_is_named(rule):
    with pytest.raises(AssertionError, match=rule):
        BROKEN[rule]()


def test_row_before_the_mode_is_set():
    driver = Driver(started=False)
    driver.idle(10)
    with pytest.raises(AssertionError, match="ACT before MRS"):
        driver.do(ACT)
