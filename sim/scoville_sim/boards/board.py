"""A Verilated board: its serial line as bytes, or as a pseudo-terminal that any program can open."""

import ctypes
import os
import termios
import threading
import tty

import numpy as np

from ..chip.build import SimError, build_library, simulated

__all__ = ["BoardTerminal", "VerilatedBoard"]

_board, _u64 = ctypes.c_void_p, ctypes.c_uint64
_FUNCTIONS = {
    "create": (_board, [ctypes.c_uint32]),
    "destroy": (None, [_board]),
    "send": (None, [_board, ctypes.POINTER(ctypes.c_uint16), _u64]),
    "run": (_u64, [_board, _u64, _u64]),
    "receive": (_u64, [_board, ctypes.c_char_p, _u64]),
    "cycles": (_u64, [_board]),
    "broken": (_u64, [_board]),
    "leds": (ctypes.c_uint32, [_board]),
    "failures": (ctypes.c_char_p, [_board]),
    "serve": (ctypes.c_int, [_board, ctypes.c_int, ctypes.POINTER(ctypes.c_int), _u64]),
}
_SDRAM = {"memory": (ctypes.POINTER(ctypes.c_uint32), [_board]), "memory_words": (_u64, [_board]),
          "memory_errors": (_u64, [_board]), "memory_error": (ctypes.c_char_p, [_board, _u64])}
NO_STOP = 0x100  # added to a byte to send: its stop bit is low
REST = 1 << 20  # clocks without traffic on the line after which the clock waits for the host


class VerilatedBoard:
    """A board, out of reset when made.

    Parameters
    ----------
    board : `scoville.board.board.Board`
    defines : macros of board.cpp; a board with SDRAM pins needs ``SCOVILLE_SDRAM`` and the part's own
    """

    def __init__(self, board, defines=()):
        self._handle = None
        self.divisor = board.divisor
        path = build_library(simulated(board, passed=("pins",)), board.config.bus_bytes, loop="board",
                             name=f"the board ({board.config.name})", defines=tuple(defines))
        library = ctypes.CDLL(str(path))
        self._library = {}
        self._has_sdram = "SCOVILLE_SDRAM" in defines
        if self._has_sdram:
            self.word_bytes = board.memory.timing.word_bytes
        for name, (result, arguments) in (_FUNCTIONS | (_SDRAM if self._has_sdram else {})).items():
            function = getattr(library, f"board_{name}")
            function.restype, function.argtypes = result, arguments
            self._library[name] = function
        self._handle = self._library["create"](self.divisor)

    def _call(self, name, *arguments):
        return self._library[name](self._handle, *arguments)

    def close(self):
        """Free the simulator."""
        if self._handle is not None:
            self._call("destroy")
            self._handle = None

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def send(self, items):
        """Queue bytes for the board; `NO_STOP` added to one breaks it."""
        items = list(items)
        self._call("send", (ctypes.c_uint16 * len(items))(*items), len(items))

    def run(self, quiet, limit=1 << 40):
        """Run until the lines have been still for `quiet` clocks; returns what the board sent.

        Raises
        ------
        SimError : an assertion failed
        """
        self._call("run", quiet, limit)
        if failures := self._call("failures").decode():
            raise SimError(f"an assertion failed: {failures}")
        received = b""
        room = ctypes.create_string_buffer(4096)
        while count := self._call("receive", room, len(room)):
            received += room.raw[:count]
        return received

    def serve(self, fd, stop):
        """Join the line and a file descriptor until `stop` (a ctypes int) is not 0."""
        if self._call("serve", fd, ctypes.byref(stop), REST):
            raise SimError("the pseudo-terminal failed")

    @property
    def cycles(self):
        """Clocks since the board was made."""
        return self._call("cycles")

    def load(self, data):
        """Put bytes into an SDRAM from its first word on, past the board; SimError if they do not fit."""
        words = np.ctypeslib.as_array(self._call("memory"), (self._call("memory_words"),))
        word_bytes = self.word_bytes
        data = np.frombuffer(bytes(data) + bytes(-len(data) % word_bytes), f"<u{word_bytes}")
        if len(data) > len(words):
            raise SimError(f"{data.nbytes:,} bytes do not fit a memory of {len(words) * word_bytes:,} bytes")
        words[:len(data)] = data

    @property
    def leds(self):
        return self._call("leds")

    @property
    def errors(self):
        """What the board did wrong, in words: bytes without a stop bit, and broken rules of its memory part."""
        broken = self._call("broken")
        found = [f"{broken} bytes without a stop bit"] if broken else []
        if self._has_sdram:
            found += [self._call("memory_error", index).decode() for index in range(self._call("memory_errors"))]
        return found


class BoardTerminal:
    """A `VerilatedBoard` behind a pseudo-terminal, running in a thread while in a ``with`` block.

    Members
    -------
    port : path to give to a program that wants a serial port
    """

    def __init__(self, board):
        self.board = board

    def __enter__(self):
        self._ours, self._theirs = os.openpty()  # theirs stays open, so that programs may come and go
        tty.setraw(self._theirs, termios.TCSANOW)
        self.port = os.ttyname(self._theirs)
        self._stop = ctypes.c_int(0)
        self._thread = threading.Thread(target=self.board.serve, args=(self._ours, self._stop))
        self._thread.start()
        return self

    def unplug(self):
        """Take the board away from under the program."""
        if self._thread is not None:
            self._stop.value = 1
            self._thread.join()
            self._thread = None
            os.close(self._ours)
            os.close(self._theirs)

    def __exit__(self, *exception):
        self.unplug()
