"""``scoville models``: models that have names, families and formats, and what each was tested on."""

import json
from typing import Annotated

import typer

__all__ = ["run"]


def run(as_json: Annotated[bool, typer.Option("--json", help="JSON instead of text.")] = False):
    """List the models that have names, and the families and weight formats that run, with what each was tested on.

    \b
    scoville models
    scoville models --json
    """
    from ..checkpoint.catalog import catalog

    found = catalog()
    print(json.dumps(found, indent=2) if as_json else "\n".join(_lines(found)))


def _lines(found):
    """The text, a line at a time."""
    yield "models"
    for model in found["models"]:
        yield f"  {model['name']:<10}{model['doc']}{'' if model['fetched'] else ' (not fetched yet)'}"
    yield "families: model_type of config.json, general.architecture of GGUF, what it was tested on (under tb/)"
    for family in found["families"]:
        yield f"  {family['name']:<10}{family['huggingface'] or '-':<10}{family['gguf'] or '-':<10}"
        yield from _tested(family)
    yield "weight formats: type in the file, format in memory, what it was tested on (under tb/)"
    for each in found["formats"]:
        yield f"  {each['type']:<10}{each['runs_as']}"
        yield from _tested(each)


def _tested(entry):
    for test in entry["tested"]:
        yield f"      {test['what']}: {test['test']}"
