"""The backend ``board``: a chip on an FPGA, over a serial line."""

import time
import zlib

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from scoville.board.protocol import config_hash
from scoville.config import CONFIGS
from scoville.registers import address_of

from ..compiler.layout import align
from ..errors import ChipError, RequestError
from .backend import Result
from .driver import NO_TOKEN, Driver
from .link import SerialLink

__all__ = ["BoardBackend", "board_config", "open_board"]

BLOCK = 16384  # bytes that are compared by one CRC
WATCHDOG = 10_000_000  # clocks without progress
TOKENS_AT_ONCE = 16  # the chip's token FIFO
PAUSE = 0.001  # seconds between two looks at a chip that had nothing to say


def open_board(port, baud, board=None):
    """The link to a board.

    Raises
    ------
    RequestError
        If no board answers on the port, or another than the one named.
    """
    if port is None:
        raise RequestError("--backend board needs --port, such as --port /dev/ttyUSB0")
    if baud < 1:
        raise RequestError(f"--baud is {baud}; it must be at least 1")
    link = SerialLink(port, baud)
    if board is not None and link.identity.board != board:
        link.close()
        raise RequestError(f"the board on {port} is programmed for {link.identity.board or 'no name'}, not for {board}")
    return link


def board_config(link, wanted=None):
    """Name of the configuration that a board was built for.

    Raises
    ------
    RequestError
        If it is not the one wanted, or none of this version's.
    """
    names = [name for name, config in CONFIGS.items() if config_hash(config) == link.identity.config_hash]
    if wanted is not None:
        if wanted in CONFIGS and wanted not in names:
            raise RequestError(f"wrong bitstream: the board on {link.port} has configuration "
                               f"{names[0] if names else 'of another version'}, not {wanted}")
        return wanted
    if not names:
        raise RequestError(f"wrong bitstream: the configuration of the board on {link.port} is not of this version; "
                           "build and load it anew")
    return names[0]


class _Bus:
    """Registers over the link; tokens are taken as many as there are."""

    def __init__(self, link):
        self.link, self.tokens = link, []

    def read(self, address):
        if address != address_of("TOKEN"):
            return self.link.read(address)
        if not self.tokens:
            found = self.link.read_fifo(address, TOKENS_AT_ONCE)
            self.tokens = [token for token in found if token != NO_TOKEN] + [NO_TOKEN]
        return self.tokens.pop(0)

    def write(self, address, value):
        self.link.write(address, value)


class BoardBackend:
    """Runs an image on a board.

    Parameters
    ----------
    link : `SerialLink`
    need_logits : whether the logits have to come back
    read_logits : whether they come back if the board's memory has room for them
    report : called with a line of text before anything slow happens
    quiet : no progress bar
    """

    name = "board"

    def __init__(self, link, need_logits=False, read_logits=True, report=lambda line: None, quiet=False):
        self.link, self.need_logits, self.read_logits = link, need_logits, read_logits or need_logits
        self.report, self.quiet = report, quiet

    def generate(self, image, prompt_ids, max_new, *, position=0, temperature=0.0, seed=0, stop_ids=(),
                 on_token=None):
        """See `backend.Backend`. `Result.logits` is None if they were not asked for or have no room.

        Raises
        ------
        RequestError
            If the image is for another chip or does not fit the board's memory.
        ChipError
            If the board goes away, the upload does not verify, or the chip stops with an error.
        """
        if position:
            raise RequestError(f"position is {position}; a board starts with empty pages, so it must be 0")
        driver = Driver(_Bus(self.link), image)
        driver.check()
        logits = self._fit(image, max_new)
        self._quiesce(driver)
        self._upload(image)
        self._write_prompt(image, prompt_ids)
        start = time.perf_counter()
        driver.start(len(prompt_ids), max_new, watchdog=WATCHDOG, temperature=temperature, seed=seed,
                     stop_ids=stop_ids, logits=logits)
        tokens, done = [], False
        while not done:
            fresh, done = driver.poll()
            for token in fresh:
                tokens.append(token)
                if on_token:
                    on_token(token)
            if not fresh and not done:
                time.sleep(PAUSE)
        seconds = time.perf_counter() - start
        rows = self._read_logits(image, len(tokens)) if logits else None
        if self.link.retries:
            self.report(f"{self.link.retries} requests had to be sent again")
        return Result(tokens=tokens, logits=rows, seconds=seconds, **driver.counters())

    def _fit(self, image, max_new):
        """Whether logits are to be written; RequestError if the memory has no room for what is needed."""
        room = self.link.identity.memory_bytes
        region = image.regions["logits"]
        rest = max(each.address + each.size for each in image.regions.values() if each is not region)
        wanted = max(rest, region.address + max_new * image.registers["LOGITS_STRIDE"])
        if rest > room or self.need_logits and wanted > room:
            needed = wanted if self.need_logits else rest
            raise RequestError(f"the image needs {needed:,} bytes; the board has {room:,} (see --context, --weights)")
        if self.read_logits and wanted > room:
            self.report(f"the board's memory, {room:,} bytes, has no room for logits: only tokens can be compared")
        return self.read_logits and wanted <= room

    def _quiesce(self, driver):
        """Stop what an earlier program may have left running."""
        driver.reset()

    def _upload(self, image):
        """Bring the image to the board's memory: what a CRC shows to be there already is not sent."""
        base, content = image.base, image.memory
        data = bytes(content) + bytes(align(len(content), image.config.bus_bytes) - len(content))
        expected = zlib.crc32(data)
        if self.link.crc_memory(base, len(data)) == expected:
            self.report(f"the image, {len(content):,} bytes, is already on the board")
            return
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
                   TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), disable=self.quiet) as progress:
            task = progress.add_task("upload", total=len(data))
            for at in range(0, len(data), BLOCK):
                block = data[at:at + BLOCK]
                if self.link.crc_memory(base + at, len(block)) == zlib.crc32(block):
                    progress.advance(task, len(block))
                else:
                    self.link.write_memory(base + at, block, lambda count: progress.advance(task, count))
        if self.link.crc_memory(base, len(data)) != expected:
            raise ChipError("the image on the board differs from what was sent: its memory does not hold it")
        self.report(f"uploaded and verified {len(content):,} bytes")

    def _write_prompt(self, image, prompt_ids):
        data = np.array(prompt_ids, "<u4").tobytes()
        data += bytes(align(len(data), image.config.bus_bytes) - len(data))
        self.link.write_memory(image.registers["PROMPT"], data)

    def _read_logits(self, image, count):
        stride = image.registers["LOGITS_STRIDE"]
        raw = np.frombuffer(self.link.read_memory(image.registers["LOGITS"], count * stride), np.uint8)
        return raw.reshape(count, stride).view("<f4")[:, :image.vocab].copy()
