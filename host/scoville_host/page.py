"""``make report``: what the jobs left in ``build/``, on one page: ``python -m scoville_host.page``."""

import argparse
import json
import os
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import jinja2

from .errors import RequestError
from .files import write_text

__all__ = ["collect", "main", "render", "tables"]

# Other jobs' results: title, what makes them, and where in build/ their JSON is.
SECTIONS = (
    ("Clock and area", "make timing", "timing/*.json"),
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
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def tables(value, title=""):
    """Any JSON as tables: list of (title, columns, rows). Lists of dicts and dicts of dicts become one table each."""
    if isinstance(value, list):
        value = {index: each for index, each in enumerate(value)}
        named = False
    else:
        named = True
    if not isinstance(value, dict):
        return [(title, ["value"], [[_shown(value)]])]
    scalars = {key: each for key, each in value.items() if not isinstance(each, dict | list)}
    records = {key: each for key, each in value.items() if isinstance(each, dict)}
    found = []
    if scalars:
        found.append((title, ["", "value"], [[str(key), _shown(each)] for key, each in scalars.items()]))
    if records and all(not isinstance(cell, dict) for each in records.values() for cell in each.values()):
        columns = list(dict.fromkeys(key for each in records.values() for key in each))
        found.append((title, ([""] if named else []) + columns,
                      [([str(key)] if named else []) + [_shown(each.get(column)) for column in columns]
                       for key, each in records.items()]))
    else:
        for key, each in records.items():
            found += tables(each, f"{title} {key}".strip())
    for key, each in value.items():
        if isinstance(each, list) and each:
            found += tables(each, f"{title} {key}".strip()) if isinstance(each[0], dict) else [
                (f"{title} {key}".strip(), ["value"], [[_shown(cell)] for cell in each])]
    return found


def _read(path):
    try:
        return json.loads(path.read_text())
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
    sections = []
    for title, command, pattern in SECTIONS:
        content = [table for path in sorted(build.glob(pattern)) for table in tables(_read(path), path.stem)]
        if content:
            sections.append({"title": title, "command": command, "tables": content})
    junit = build / "sim.xml"
    tests = _junit(junit) if junit.exists() else None
    if not (results or sections or tests):
        raise RequestError(f"nothing to report in {build}; run make bench first")
    return {"results": results, "sections": sections, "tests": tests}


def render(collected, folder, build):
    """The page as HTML; links are relative to `folder`."""
    from . import charts

    results = collected["results"]
    configs = list(dict.fromkeys(found["config"] for found in results.values()))
    environment = jinja2.Environment(loader=jinja2.PackageLoader("scoville_host", "."), autoescape=True,
                                     trim_blocks=True, lstrip_blocks=True)
    environment.filters["percent"] = lambda value: "" if value is None else f"{value:.1%}"
    environment.filters["count"] = lambda value: "" if value is None else f"{value:,.0f}"
    return environment.get_template("report.html.j2").render(
        **collected, bench=os.path.relpath(build / "bench", folder),
        stalls=charts.stalls(results) if results else "",
        rooflines={name: charts.roofline(name, {row: found for row, found in results.items()
                                                if found["config"] == name}) for name in configs},
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
    sys.exit(main())
