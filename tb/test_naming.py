"""Names of signals, so the bytes of what is emitted: the same under every Python, and wherever and whenever it runs."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import amaranth
import pytest

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "pythons"
VERSIONS = ("3.11", "3.12", "3.13")
HERE = f"3.{sys.version_info.minor}"

# Each name of a signal is what the tracer may see of it, at the place where a Python differs from another: the order of
# a tuple's stores, two stores or a store and a load as one instruction, comprehensions as functions or not, cells.
FORMS = '''
"""Öffnet Umlaute: columns are counted in bytes."""
from types import SimpleNamespace
import scoville
from amaranth.hdl import Module, Signal
from amaranth.lib import data, memory, wiring

def forms():
    it, m = SimpleNamespace(), Module()
    plain = Signal(); also = plain
    first = second = Signal()
    ö, two = Signal(), Signal(3)
    x, y, three = Signal(), Signal(), Signal.like(plain)
    p, q, r, s = Signal(), Signal(), Signal(), Signal()
    kept, captured = Signal(), Signal()
    inside = [captured for _ in range(2)]
    it.own, it.other = Signal(), Signal()
    it.attribute = Signal(
        data.StructLayout({"a": 1}))
    it.one = one = Signal()
    only, = [Signal()]
    held = [Signal(), first, two]
    made = [Signal() for _ in range(2)]
    walrus = [(taken := Signal()), taken]
    chosen = Signal() if plain is not None else first
    other = first if plain is None else Signal()
    last, spare = Signal(), plain
    annotated: object = Signal()
    store = memory.Memory(shape=8, depth=4, init=[])
    write, read = store.write_port(), store.read_port()
    port = store.read_port()
    link = wiring.Signature({"go": wiring.In(1)}).create()
    return [plain, first, ö, two, x, y, three, p, s, kept, captured, it.own, it.other, it.attribute.as_value(), one,
            only, held[0], *made, taken, chosen, other, last, annotated, write.en, read.en, port.en, link.go]

print(" ".join(signal.name for signal in forms()))
'''
NAMES = ("plain first $signal two $signal $signal three $signal $signal $signal captured $signal $signal attribute one "
         "$signal $signal $signal $signal taken $signal $signal $signal annotated $signature__en read__en port__en "
         "link__go")

EMIT = """
import sys
from scoville.config import get_config
from scoville.chip import Chip
from scoville.verilog import emit_rtlil
sys.stdout.write(emit_rtlil(Chip(get_config("slim")), "scoville"))
"""


def pythons():
    """The Pythons on the machine that can run the chip's sources, by version: this one, on PATH, of pyenv."""
    found = {HERE: sys.executable}
    for version in VERSIONS:
        places = [shutil.which(f"python{version}"),
                  *Path("~/.pyenv/versions").expanduser().glob(f"{version}.*/bin/python")]
        for place in filter(None, places):
            if subprocess.run([place, "-c", "import ssl, ctypes"], capture_output=True).returncode == 0:
                found.setdefault(version, str(place))
    return found


def others():
    found = {version: python for version, python in pythons().items() if version != HERE}
    if not found:
        pytest.skip(f"there is no other Python of {', '.join(VERSIONS)} than this one, {HERE}")
    return found


def output(python, arguments, environment, cwd=None):
    return subprocess.run([python, *arguments], env=os.environ | environment, cwd=cwd, check=True,
                          stdout=subprocess.PIPE).stdout


@pytest.fixture
def names(tmp_path):
    """What a Python names the signals of `FORMS`."""
    (tmp_path / "forms.py").write_text(FORMS, encoding="utf-8")
    packages = os.pathsep.join([str(ROOT / "rtl"), str(Path(amaranth.__file__).parents[1])])

    def run(python):
        return output(python, [tmp_path / "forms.py"], {"PYTHONPATH": packages, "PYTHONIOENCODING": "utf-8"}).decode()
    return run


def test_names(names):
    assert names(sys.executable).split() == NAMES.split()


def test_names_elsewhere(names):
    """No other Python names anything differently."""
    for version, python in others().items():
        assert names(python).split() == NAMES.split(), version


def test_columns_missing(tmp_path):
    """A Python that forgets columns is told so, and emits nothing else."""
    (tmp_path / "forms.py").write_text(FORMS, encoding="utf-8")
    done = subprocess.run([sys.executable, "-X", "no_debug_ranges", tmp_path / "forms.py"], capture_output=True,
                          text=True)
    assert done.returncode and not done.stdout
    assert "was compiled without columns" in done.stderr


def prepared(version, python):
    """A Python with the packages that emission needs, in build/pythons."""
    if python == sys.executable:
        return python
    folder = BUILD / version
    if not (folder / "ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([python, "-m", "venv", folder], check=True, capture_output=True)
        if subprocess.run([folder / "bin" / "pip", "install", "-q", f"amaranth=={amaranth.__version__}", "numpy"],
                          capture_output=True).returncode:
            pytest.skip(f"pip could not install amaranth and numpy for Python {version}")
        (folder / "ready").touch()
    return str(folder / "bin" / "python")


@pytest.mark.heavy
def test_bytes(tmp_path):
    """A chip's bytes: every Python, another seed of hashes, a locale, a folder of the checkout, a day."""
    copy = tmp_path / "another place"
    shutil.copytree(ROOT / "rtl", copy, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    found = {}
    for seed, (version, python) in enumerate([("here", sys.executable), *sorted(pythons().items())]):
        there = ROOT / "rtl" if seed == 0 else copy
        text = output(prepared(version, python), ["-c", EMIT],
                      {"PYTHONPATH": str(there), "PYTHONHASHSEED": str(seed), "LC_ALL": "C" if seed % 2 else "C.UTF-8",
                       "TZ": f"UTC+{seed}", "PYTHONDONTWRITEBYTECODE": "1"}, cwd=tmp_path if seed else ROOT)
        found[version] = hashlib.sha256(text).hexdigest()
    assert len(set(found.values())) == 1, found
    others()  # skips, saying so, where this is the only one
