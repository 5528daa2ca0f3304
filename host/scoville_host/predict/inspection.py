"""The work behind ``scoville inspect``: what a checkpoint is and whether it runs, from its headers alone."""

import re
from dataclasses import replace
from pathlib import Path

from scoville.config import CONFIGS

from ..checkpoint.formats import get_format
from ..checkpoint.gguf_blocks import GGUF_FORMS
from ..checkpoint.load import kind_of, load_checkpoint
from ..checkpoint.models import resolve
from ..checkpoint.refusals import Refusals
from ..compiler.compiler import DEFAULT_CONTEXT
from ..compiler.limits import buffer_needs
from ..errors import RequestError
from ..runtime.session import find_config
from .outline import compile_outline, fitted, is_outline, read_outline
from .predict import predict_outline

__all__ = ["inspect"]

POSITION = 63  # tokens in the KV cache of the decoding that is predicted, where the context has room
PATIENCE = 16  # tiles of a matrix that are walked; the rest follows
SIZES = ("hidden", "layers", "heads", "kv_heads", "head_dim", "ffn", "vocab", "context", "window", "tied")
_NAME = re.compile(r"tensor '[^']*'")


def inspect(model, config=None, *, weights=None, context=None):
    """What there is to say of a checkpoint; none of its weights are read.

    Parameters
    ----------
    model : as for `open_session`, or a config.json, or a name in `outline.SHAPES`.
    config : name of the configuration that is asked about; None for all.
    weights, context : as for `compile_model`; by default the context is what a sliding window allows.

    Returns
    -------
    dict with ``model``, ``path``, ``kind``, ``family``, ``sizes``, ``tensors``, ``bytes``, ``formats`` (a list:
    ``type``, ``tensors``, ``bytes``, ``runs_as``), ``supported``, ``obstacles`` (a list: ``subject``, ``what``),
    ``context`` (positions that are laid out), ``configs`` (a list: ``config``, ``fits``, ``obstacles``,
    ``cycles_per_token``, ``bus_utilisation``, ``image_bytes``; numbers may be None) and ``runs``

    Raises
    ------
    RequestError
        If the file cannot be read at all, or the request is wrong.
    """
    get_format(weights or "mxint8")
    chosen = [find_config(config)] if config else list(CONFIGS.values())
    refusals = Refusals(gather=True)
    found = {"model": model, "path": model, "kind": "config", "family": None, "sizes": None, "tensors": 0, "bytes": 0,
             "formats": []}
    outline = None
    if is_outline(model):
        with refusals.of("setting"):
            outline = read_outline(model, refusals)
    else:
        name, path = resolve(model)
        stored = _listed(path)
        found |= {"model": name, "path": str(path), "kind": kind_of(path), "tensors": len(stored),
                  "bytes": sum(tensor.size for tensor in stored.values()), "formats": _formats(stored, weights)}
        with refusals.of("family or settings"):
            outline = load_checkpoint(path, name, weights=weights, refusals=refusals, outline=True)
        if outline is None:  # all the same, formats
            for tensor in stored.values():
                with refusals.of("format"):
                    (tensor.as_floats() if weights else tensor).check()
    configs, room = [], None
    if outline:
        found |= {"family": outline.family.name, "sizes": {name: getattr(outline, name) for name in SIZES}}
        if context is not None and not 1 <= context <= outline.context:
            raise RequestError(f"context is {context}; {outline.name} allows 1 to {outline.context}")
        room = context or min(outline.context, DEFAULT_CONTEXT, outline.window or outline.context)
        widest = max(chosen, key=lambda each: each.bus_bytes)
        if not refusals.found:
            with refusals.of("lowering"):  # what no configuration changes
                compile_outline(outline, fitted(widest, outline), weights=weights, context=room)
        if not refusals.found:
            configs = [_on(outline, each, weights, room) for each in chosen]
            if not any(each["fits"] for each in configs):  # all the same, what larger buffers would give
                configs[chosen.index(widest)] |= _predicted(outline, fitted(widest, outline), weights, room)
    obstacles = _condensed(refusals.found, f"{found['path']}: ")
    return found | {"supported": not obstacles, "obstacles": obstacles, "context": room,
                    "configs": configs, "runs": any(each["fits"] for each in configs)}


def _listed(path):
    """`StoredTensor` by name, of either kind of file."""
    if kind_of(path) == "huggingface":
        from ..checkpoint.huggingface import list_huggingface

        return list_huggingface(Path(path))[1]
    from ..checkpoint.gguf_file import list_gguf

    return list_gguf(path)[1]


def _formats(stored, weights):
    """Tensors by type, the most bytes first."""
    rows = {}
    for tensor in stored.values():
        row = rows.setdefault(tensor.dtype, {"type": tensor.dtype, "tensors": 0, "bytes": 0})
        row["tensors"] += 1
        row["bytes"] += tensor.size
        usable = tensor.as_floats() if weights else tensor
        form = None if usable.refusal else GGUF_FORMS[tensor.dtype].form.name.lower() if tensor.form else "floats"
        row["runs_as"] = weights if form and weights else form
    return sorted(rows.values(), key=lambda row: -row["bytes"])


def _condensed(found, source):
    """A line an obstacle: what is said of many tensors names the first, and how many more there are."""
    lines = {}
    for subject, text in found:
        lines.setdefault((subject, _NAME.sub("tensor", text)), []).append(text.removeprefix(source))
    return [{"subject": subject, "what": texts[0] + (f" (and {len(texts) - 1} more)" if texts[1:] else "")}
            for (subject, _), texts in lines.items()]


def _on(outline, config, weights, context):
    """What a configuration has to say."""
    obstacles = [f"{what} needs {field} = {need}, and it has {getattr(config, field)}"
                 for field, (need, what) in buffer_needs(outline, config).items() if need > getattr(config, field)]
    large = replace(fitted(config, outline), name=config.name, slot_pages=config.slot_pages)
    try:
        image = compile_outline(outline, large, weights=weights, context=context)
    except RequestError as error:
        obstacles.append(str(error))
    row = {"config": config.name, "fits": not obstacles, "obstacles": obstacles, "cycles_per_token": None,
           "bus_utilisation": None, "image_bytes": None}
    return row if obstacles else row | _predicted(outline, config, weights, context) | {"image_bytes": image.size}


def _predicted(outline, config, weights, context):
    """Cycles of decoding a token, from the analytical model."""
    options = {"weights": weights, "context": context}
    try:
        image = compile_outline(outline, config, **options)
    except RequestError:
        return {}
    position = min(POSITION, context - 1)
    cycles = predict_outline(outline, config, 1, 1, position=position, patience=PATIENCE, **options).cycles
    moved = image.traffic.pass_bytes(position, 1, True)
    return {"cycles_per_token": round(cycles), "bus_utilisation": moved / (cycles * config.bus_bytes)}
