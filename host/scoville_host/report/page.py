"""``make report``: what the jobs left in ``build/``, on one page: ``python -m scoville_host.report.page``."""

import argparse
import json
import os
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import jinja2

from ..errors import RequestError
from ..files import write_text
from ..streams import as_program

__all__ = ["collect", "main", "render", "tables"]

# Other jobs' results: title, what makes them, and where in build/ their JSON is.
SECTIONS = (
    ("Clock and area", "make timing", "timing/timing.json"),
    ("Boards", "make fpga BOARD=…", "fpga/**/report.json"),
    ("Coverage", "make coverage", "coverage/*.json"),
    ("Formal proofs", "make formal", "formal/*.json"),
    ("Mutations", "make mutate", "mutate/*.json"),
    ("Gate-level simulation", "make gates", "gates/*.json"),
)


def _shown(value):
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: ""}[value]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return " → ".join(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _depth(value):
    """Dicts in dicts: 0 for anything but a dict."""
    return 1 + max(map(_depth, value.values()), default=0) if isinstance(value, dict) else 0


def _flat(record):
    """A dict in which those of inner dicts are ``outer inner``."""
    found = {}
    for key, each in record.items():
        found |= {f"{key} {inner}": cell for inner, cell in _flat(each).items()} if isinstance(each, dict) else {
            str(key): each}
    return found


def tables(value, title=""):
    """Any JSON as tables: list of (title, columns, rows).

    A list of dicts and a dict of dicts become a table, with inner dicts as further columns; what is deeper, a table for
    each key.
    """
    if isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
        records = [_flat(each) for each in value]
        columns = list(dict.fromkeys(key for each in records for key in each))
        return [(title, columns, [[_shown(each.get(column)) for column in columns] for each in records])]
    if not isinstance(value, dict):
        return [(title, ["value"], [[_shown(each)] for each in (value if isinstance(value, list) else [value])])]
    scalars = {key: each for key, each in value.items() if not isinstance(each, dict | list)}
    records = {key: _flat(each) for key, each in value.items() if 0 < _depth(each) < 3}
    found = []
    if scalars:
        found.append((title, ["", "value"], [[str(key), _shown(each)] for key, each in scalars.items()]))
    if records:
        columns = list(dict.fromkeys(key for each in records.values() for key in each))
        found.append((title, ["", *columns], [[str(key), *(_shown(each.get(column)) for column in columns)]
                                              for key, each in records.items()]))
    for key, each in value.items():
        if key not in records and key not in scalars:
            found += tables(each, f"{title} {key}".strip())
    return found


def _read(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise RequestError(f"{path}: {error}") from None


def _junit(path):
    """(tests, failed, seconds) of a JUnit file."""
    try:
        suites = list(ElementTree.parse(path).getroot().iter("testsuite"))
    except ElementTree.ParseError as error:
        raise RequestError(f"{path}: {error}") from None

    def total(*names):
        return sum(float(suite.get(name, 0)) for suite in suites for name in names)

    return int(total("tests")), int(total("failures", "errors")), total("time")


def collect(build):
    """What there is below `build`: dict for the page.

    Raises
    ------
    RequestError
        If there is nothing, or a file cannot be read.
    """
    results = {}
    for path in sorted((build / "bench").glob("*.json")):
        found = _read(path)
        if "row" in found:
            results[found["row"]["name"]] = found
    many = {path.stem: found for path in sorted((build / "many").glob("*.json"))
            if "sequences" in (found := _read(path))}
    sections = []
    for title, command, pattern in SECTIONS:
        content = [table for path in sorted(build.glob(pattern)) for table in tables(_read(path), path.stem)]
        if content:
            sections.append({"title": title, "command": command, "tables": content})
    junit = build / "sim.xml"
    tests = _junit(junit) if junit.exists() else None
    if not (results or many or sections or tests):
        raise RequestError(f"nothing to report in {build}; run make bench first")
    return {"results": results, "many": many, "sections": sections, "tests": tests}


def render(collected, folder, build):
    """The page as HTML; links are relative to `folder`."""
    from . import charts

    results, many = collected["results"], collected["many"]
    configs = list(dict.fromkeys(found["config"] for found in results.values()))
    environment = jinja2.Environment(loader=jinja2.PackageLoader("scoville_host.report", "."), autoescape=True,
                                     trim_blocks=True, lstrip_blocks=True)
    environment.filters["percent"] = lambda value: "" if value is None else f"{value:.1%}"
    environment.filters["count"] = lambda value: "" if value is None else f"{value:,.0f}"
    return environment.get_template("report.html.j2").render(
        **collected, bench=os.path.relpath(build / "bench", folder),
        stalls=charts.stalls(results) if results else "",
        rooflines={name: charts.roofline(name, {row: found for row, found in results.items()
                                                if found["config"] == name}) for name in configs},
        pools={name: charts.pool(found) for name, found in many.items() if found["pool"]},
        waits={name: charts.waits(found) for name, found in many.items()},
        kinds={name: charts.kinds(found["by_kind"]) for name, found in results.items() if found["by_kind"]})


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="page", description=__doc__)
    parser.add_argument("--build", type=Path, default=Path("build"), help="where the jobs left their results")
    build = parser.parse_args(arguments).build
    target = build / "report" / "index.html"
    try:
        write_text(target, render(collect(build), target.parent, build))
    except RequestError as error:
        print(f"report: error: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        print(f"report: error: no package {error.name}; install it with: pip install -e '.[report]'", file=sys.stderr)
        return 2
    print(target)
    return 0


if __name__ == "__main__":
    as_program(main, "report")
