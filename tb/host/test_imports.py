"""No module of the host or the simulator imports itself through others, inside a function or at the top of a file."""

import ast
from graphlib import CycleError, TopologicalSorter
from importlib.util import find_spec
from pathlib import Path

import pytest


def modules(package, folder):
    """Files of a package by their dotted names; a folder's ``__init__.py`` has the folder's."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        found[".".join((package, *(part for part in parts if part != "__init__")))] = path
    return found


def imported(name, path, known):
    """Names in `known` that a module imports anywhere in its file."""
    place = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = place.split(".")[:len(place.split(".")) + 1 - node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            # What is no module of its own is a name in `base`.
            found |= {inner if (inner := f"{base}.{each.name}") in known else base for each in node.names}
    return found & set(known)


def circle(packages):
    """A circle of imports in packages, given as (name, folder): names of modules, the first again at the end; or []."""
    known = {name: path for package in packages for name, path in modules(*package).items()}
    try:
        TopologicalSorter({name: imported(name, path, known) for name, path in known.items()}).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_no_circles():
    packages = [(name, Path(find_spec(name).origin).parent) for name in ("scoville_host", "scoville_sim")]
    assert len(modules(*packages[0])) > 40 and len(modules(*packages[1])) > 20
    assert circle(packages) == []


@pytest.mark.parametrize("back", [
    "from .a import one", "from . import a", "from planted.room.a import one", "import planted.room.a",
    "from ..room.a import one", "def later():\n    from .a import one", "from ..top import way"])
def test_a_planted_circle_is_seen(tmp_path, back):
    room = tmp_path / "room"
    room.mkdir()
    (tmp_path / "__init__.py").write_text("")
    (tmp_path / "top.py").write_text("from .room import a as way\n")
    (room / "__init__.py").write_text("")
    (room / "a.py").write_text("from .b import two\none = 1\n")
    (room / "b.py").write_text("two = 2\n")
    assert circle([("planted", tmp_path)]) == []
    (room / "b.py").write_text(f"two = 2\n{back}\n")
    assert {"planted.room.a", "planted.room.b"} <= set(circle([("planted", tmp_path)]))
