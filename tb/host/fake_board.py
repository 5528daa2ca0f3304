"""A board without hardware or RTL: the link's model behind a pseudo-terminal, the golden model for a chip."""

import os
import select
import threading
import tty

import numpy as np
from cobs import cobs
from scoville.board.link_model import LinkModel
from scoville.golden import GoldenChip
from scoville.registers import address_of
from scoville_host.runtime.driver import NO_TOKEN

PAIRS = ("PROGRAM", "PROMPT", "KV_BASE", "WINDOW_BASE", "WINDOW_LIMIT", "LOGITS")
SINGLE = ("CONTEXT", "KV_PAGES", "KV_PAGE_BYTES", "LOGITS_STRIDE")


class FakeChip:
    """Registers; a start runs the golden model at once."""

    def __init__(self, config, memory):
        self.config, self.memory, self.values, self.tokens = config, memory, {}, []
        self["SHAPE"] = config.bus_bytes << 16 | config.rows << 8 | config.lanes
        self["SHAPE2"] = config.dot_width << 8 | config.act_bits
        self.starts = 0

    def __setitem__(self, name, value):
        self.values[address_of(name)] = value

    def __getitem__(self, name):
        return self.values.get(address_of(name), 0)

    def read(self, address):
        if address == address_of("TOKEN"):
            return self.tokens.pop(0) if self.tokens else NO_TOKEN
        return self.values.get(address, 0)

    def write(self, address, value):
        self.values[address] = value
        if address == address_of("CONTROL") and value & 1:
            self.starts += 1
            self._run()

    def _run(self):
        registers = {name: self[f"{name}_LO"] | self[f"{name}_HI"] << 32 for name in PAIRS}
        registers |= {name: self[name] for name in SINGLE}
        at = registers["PROMPT"]
        prompt = self.memory[at:at + 4 * self["PROMPT_LENGTH"]].view("<u4")
        limit = max(len(self.memory), registers["WINDOW_LIMIT"])
        scratch = np.zeros(limit, np.uint8)
        scratch[:len(self.memory)] = self.memory
        chip = GoldenChip(self.config, scratch, registers, base=0)
        stops = tuple(self[f"STOP{index}"] for index in range(self["STOP_COUNT"]))
        result = chip.run([int(token) for token in prompt], self["MAX_NEW"], stop_ids=stops)
        if registers["LOGITS"]:
            for row, logits in enumerate(result.logits):
                where = registers["LOGITS"] + row * registers["LOGITS_STRIDE"]
                self.memory[where:where + logits.nbytes] = logits.view(np.uint8)
        self.tokens += [int(token) for token in result.tokens]
        self["STATUS"] = 2
        self["CYCLES_LO"] = 1000


class FakeBoard:
    """While in a ``with`` block: a port that answers.

    Parameters
    ----------
    spoil : function (number of the frame, answer's bytes) -> bytes or None, applied to each answer on its way
    after : the cable is pulled once so many frames have come
    """

    def __init__(self, config, memory_bytes=1 << 20, name="fake", spoil=None, after=None):
        self.memory = np.zeros(memory_bytes, np.uint8)
        self.chip = FakeChip(config, self.memory)
        self.link = LinkModel(self.chip, self.memory, config=config, memory_bytes=memory_bytes, clock_hz=1 << 26,
                              board=name)
        self.spoil, self.after, self.frames = spoil or (lambda number, line: line), after, 0

    def __enter__(self):
        self._ours, self._theirs = os.openpty()
        tty.setraw(self._theirs)
        self.port = os.ttyname(self._theirs)
        self._stop = False
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return self

    def _serve(self):
        line = b""
        while not self._stop:
            if not select.select([self._ours], [], [], 0.02)[0]:
                continue
            line += os.read(self._ours, 4096)
            while b"\0" in line:
                part, line = line.split(b"\0", 1)
                answer = self.link.answer(part)
                if answer is None:
                    continue
                self.frames += 1
                if self.frames == self.after:
                    self._stop = True
                    break
                if answer := self.spoil(self.frames, cobs.encode(answer) + b"\0"):
                    os.write(self._ours, answer)
        os.close(self._ours)
        os.close(self._theirs)

    def __exit__(self, *exception):
        self._stop = True
        self._thread.join()
