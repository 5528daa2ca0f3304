"""The test plan, from tb/plan/: a file a block, a point a line of docs/verification.md, linked to what tests it."""

import ast
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

__all__ = ["BEGIN", "END", "Point", "check", "markdown", "read"]

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("tests", "cover", "proofs")
BEGIN, END = "<!-- Made from tb/plan/; do not edit. -->\n", "<!-- End of the test plan. -->\n"


@dataclass(frozen=True)
class Point:
    """What is tested, and by what.

    Parameters
    ----------
    block : name of the plan's file
    what : a line
    tests : paths below tb/, of a file or of a function in it (``memory/test_reader.py::window``)
    cover : units with cover points (``memory.reader``)
    proofs : files below formal/
    """

    block: str
    what: str
    tests: tuple[str, ...] = ()
    cover: tuple[str, ...] = ()
    proofs: tuple[str, ...] = ()


def read(root=ROOT):
    """All points, by block.

    Raises
    ------
    ValueError
        If a file has something else than points of `what` and links.
    """
    points = []
    for path in sorted((root / "tb" / "plan").glob("*.toml")):
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        if set(content) != {"point"}:
            raise ValueError(f"{path.name} has {', '.join(sorted(content))}; a plan has only [[point]]")
        for point in content["point"]:
            if unknown := set(point) - {"what", *KINDS}:
                raise ValueError(f"{path.name}, {point.get('what')!r}: unknown {', '.join(sorted(unknown))}")
            points.append(Point(path.stem, point["what"], *(tuple(point.get(kind, ())) for kind in KINDS)))
    return points


def _tests(root):
    """Every test file below tb/, and every function in it."""
    found = {}
    for path in sorted((root / "tb").rglob("test_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found[path.relative_to(root / "tb").as_posix()] = {
            node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    return found


def _covers(root):
    """The units that have cover points: the first two parts of the names that tb/cover/ gives them."""
    return {".".join(node.args[0].value.split(".")[:2]) for path in sorted((root / "tb" / "cover").glob("*.py"))
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) in ("CoverPoint", "CoverCross")
            and node.args and isinstance(node.args[0], ast.Constant)}


def _proofs(root):
    """Files below formal/ that have proofs."""
    return {path.relative_to(root / "formal").as_posix() for path in sorted((root / "formal").rglob("*.py"))
            for node in ast.parse(path.read_text(encoding="utf-8")).body
            if (isinstance(node, ast.FunctionDef) and node.name == "proofs")
            or (isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == "PROOFS")}


def check(root=ROOT):
    """What is wrong with the links, a line each; none if all is well."""
    tests, covers, proofs, points = _tests(root), _covers(root), _proofs(root), read(root)
    wrong = []
    for point in points:
        where = f"tb/plan/{point.block}.toml, {point.what!r}"
        if not point.tests and not point.proofs:
            wrong.append(f"{where}: neither a test nor a proof")
        for link in point.tests:
            file, _, function = link.partition("::")
            if file not in tests or (function and function not in tests[file]):
                wrong.append(f"{where}: there is no test {link}")
        wrong += [f"{where}: there is no cover point {link}" for link in point.cover if link not in covers]
        wrong += [f"{where}: there is no proof {link}" for link in point.proofs if link not in proofs]
    planned = {link.partition("::")[0] for point in points for link in point.tests}
    for what, folder, found, linked in (
            ("test", "tb/", tests, planned),
            ("cover point", "", covers, {link for point in points for link in point.cover}),
            ("proof", "formal/", proofs, {link for point in points for link in point.proofs})):
        wrong += [f"{what} {folder}{name} is in no plan: add it to a point of tb/plan/*.toml"
                  for name in sorted(set(found) - linked)]
    # Simulators and pytest import a testbench by its name alone.
    names = Counter(name.rpartition("/")[2] for name in tests)
    wrong += [f"test tb/{name} has the name of another: choose one of its own"
              for name in sorted(tests) if names[name.rpartition("/")[2]] > 1]
    return wrong


def _shown(links):
    """Links as text; the functions of one file together, a name that is said already left out."""
    files = {}
    for link in links:
        file, _, function = link.partition("::")
        files.setdefault(file, []).append(function)
    return ", ".join(f"`{file}`" + (f" ({', '.join(functions)})" if all(functions) else "")
                     for file, functions in files.items())


def markdown(root=ROOT):
    """The table of docs/verification.md."""
    lines = ["| block | what is tested | tests, in `tb/` | proofs, in `formal/` | cover points |",
             "|---|---|---|---|---|"]
    for point in read(root):
        links = (_shown(getattr(point, kind)) for kind in ("tests", "proofs", "cover"))
        lines.append(f"| {point.block} | {point.what} | {' | '.join(links)} |")
    return "\n".join([*lines, ""])
