"""What quantisation costs: perplexity, divergence from the float reference, and agreement on the likeliest token."""

import contextlib
import dataclasses
from pathlib import Path

import numpy as np

from ..errors import RequestError
from .gguf_writer import KINDS, as_gguf
from .llama_cpp import LlamaCpp, find_llama_cpp

__all__ = ["AGAINST", "BACKENDS", "compare", "evaluate", "perplexity"]

BACKENDS = ("golden", "rtl", "float")
AGAINST = ("float", "llama.cpp")
CACHES = ("F16", "Q8_0")  # llama.cpp's KV caches: its default, and the one with as many bits as the chip's
DEFAULT_TOKENS = 512
CHUNK = 64  # positions whose log-probabilities are held in float64 at a time


def _log_softmax(logits):
    logits = logits.astype(np.float64)
    logits -= logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def perplexity(logits, ids):
    """exp of the mean negative log-likelihood of ``ids[1:]``; logits ``[len(ids), vocab]``, teacher-forced."""
    total = 0.0
    for start in range(0, len(ids) - 1, CHUNK):
        end = min(start + CHUNK, len(ids) - 1)
        total -= _log_softmax(logits[start:end])[np.arange(end - start), ids[start + 1:end + 1]].sum()
    return float(np.exp(total / (len(ids) - 1)))


def compare(reference, logits):
    """(mean KL(reference || model) in nats, share of positions with the same likeliest token).

    Both are logits ``[positions, vocab]``.
    """
    divergence = 0.0
    for start in range(0, len(logits), CHUNK):
        part = slice(start, start + CHUNK)
        p, q = _log_softmax(reference[part]), _log_softmax(logits[part])
        divergence += (np.exp(p) * (p - q)).sum()
    same = (reference.argmax(axis=1) == logits.argmax(axis=1)).mean()
    return float(divergence / len(logits)), float(same)


def evaluate(model, text_path, backend="golden", against=None, config_name="nano", act_bits=None, tokens=None,
             weights=None, progress=None):
    """Teacher-force a text through a model.

    Parameters
    ----------
    model : name or path, as for `--model`
    text_path : UTF-8 text; its first `tokens` tokens count, 512 if None
    backend : one of `BACKENDS`; ``rtl`` runs a sequence for each position, so keep `tokens` small
    against : ``"float"`` to compare with the float reference, ``"llama.cpp"`` to have llama.cpp compared with it
        too, on one GGUF file (see `gguf_writer.as_gguf`), or None
    config_name : named configuration; for ``golden`` its buffers are made large enough, which changes no result
    act_bits : in place of the configuration's
    weights : weight format for all matrices, or None to keep the checkpoint's (llama.cpp: Q8_0 for a directory)
    progress : called with (tokens done, tokens)

    Returns
    -------
    dict with ``model``, ``backend``, ``act_bits`` (None for float), ``tokens``, ``perplexity`` and, with `against`,
    ``against``, ``reference_perplexity``, ``kl`` (mean, nats) and ``top1`` (share of positions). With llama.cpp also
    ``weights``, ``reference`` (what computed it) and ``runs``: for Scoville, and llama.cpp with each of `CACHES`,
    ``engine``, ``act_bits``, ``kv_cache``, ``kl``, ``top1``, ``perplexity``.

    Raises
    ------
    RequestError
        If the request makes no sense: unknown backend, text too short, no tokenizer, missing packages.
    """
    from ..checkpoint.models import resolve

    if backend not in BACKENDS:
        raise RequestError(f"unknown backend {backend!r}; there are: {', '.join(BACKENDS)}")
    if against not in (None, *AGAINST):
        raise RequestError(f"cannot compare against {against!r}; it must be 'float' or 'llama.cpp'")
    if against == "llama.cpp":
        find_llama_cpp()
        if backend == "float":
            raise RequestError("backend 'float' is what llama.cpp is compared with; it must be golden or rtl")
    name, path = resolve(model)
    ids = _read_ids(path, text_path, tokens or DEFAULT_TOKENS)
    result = {"model": name, "backend": backend, "act_bits": None, "tokens": len(ids)}
    with contextlib.ExitStack() as stack:
        if against == "llama.cpp":
            result["weights"] = weights or ("as in the file" if path.is_file() else KINDS[0])
            path, weights = stack.enter_context(as_gguf(path, weights)), None
        if backend == "float":
            logits = _float_logits(path, ids)
        else:
            image = _compile(path, name, backend, config_name, act_bits, weights, len(ids))
            result["act_bits"] = image.config.act_bits
            logits = (_golden_logits if backend == "golden" else _sequence_logits)(image, ids, progress)
        result["perplexity"] = perplexity(logits, ids)
        if against == "float":
            reference = logits if backend == "float" else _float_logits(path, ids)
            result |= {"against": against} | _distance(reference, logits, ids)
        elif against:
            result |= {"against": against} | _beside_llama_cpp(path, ids, logits, result["act_bits"], progress)
    return result


def _distance(reference, logits, ids):
    kl, same = compare(reference, logits)
    return {"reference_perplexity": perplexity(reference, ids), "kl": kl, "top1": same}


def _beside_llama_cpp(path, ids, logits, act_bits, progress):
    """Scoville's logits and llama.cpp's against one float reference: the same file, the same ids."""
    from ..checkpoint.load import load_checkpoint
    from .float_model import float_logits
    from .reference import load_reference

    try:
        reference, source = load_reference(path).logits(ids), "transformers, FP32"
    except (RuntimeError, ValueError):  # not installed, or it does not know such a file
        reference, source = float_logits(load_checkpoint(path), ids), "numpy, float64"
    runs = []

    def add(engine, act_bits, cache, found):
        kl, same = compare(reference, found)
        runs.append({"engine": engine, "act_bits": act_bits, "kv_cache": cache, "kl": kl, "top1": same,
                     "perplexity": perplexity(found, ids)})

    add("Scoville", act_bits, "8 bits", logits)
    for cache in CACHES:
        engine = LlamaCpp(path, len(ids) + 1, reference.shape[1], cache)
        add("llama.cpp", None, cache, engine.log_probabilities(ids, progress))
    return {"reference": source} | _distance(reference, logits, ids) | {"runs": runs}


def _read_ids(path, text_path, tokens):
    from ..checkpoint.tokenizer import load_tokenizer

    if tokens < 2:
        raise RequestError(f"{tokens} tokens; an evaluation needs at least 2")
    tokenizer = load_tokenizer(path)
    if tokenizer is None:
        raise RequestError(f"{path} has no tokenizer, so it cannot be evaluated on text")
    try:
        text = Path(text_path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{text_path}: {error}") from None
    ids = tokenizer.encode(text)[:tokens]
    if len(ids) < 2:
        raise RequestError(f"{text_path} has {len(ids)} tokens; an evaluation needs at least 2")
    return np.array(ids)


def _compile(path, name, backend, config_name, act_bits, weights, context):
    from scoville.config import get_config

    from ..checkpoint.load import load_checkpoint
    from ..compiler.compiler import compile_model

    try:
        config = get_config(config_name)
        if act_bits is not None:
            config = dataclasses.replace(config, act_bits=act_bits)
    except ValueError as error:
        raise RequestError(str(error)) from None
    if backend == "golden":
        config = dataclasses.replace(config, max_hidden=1 << 16, max_rows=1 << 20, operand_blocks=1 << 12,
                                     max_head_blocks=8)
    return compile_model(load_checkpoint(path, name, weights=weights), config, weights=weights, context=context)


def _float_logits(path, ids):
    from .reference import load_reference

    try:
        return load_reference(path).logits(ids)
    except (FileNotFoundError, RuntimeError, ValueError) as error:
        raise RequestError(str(error)) from None


def _golden_logits(image, ids, progress):
    from scoville.golden import GoldenChip

    chip = GoldenChip(image.config, image.allocate(), image.registers, base=image.base)
    return chip.logits(ids, progress=progress)


def _sequence_logits(image, ids, progress):
    """Logits of the RTL: it gives those of a sequence's last position, so each position is a sequence of its own."""
    from .registry import get_backend

    rtl = get_backend("rtl")
    rows = []
    for count in range(1, len(ids) + 1):
        rows.append(rtl.generate(image, [int(token) for token in ids[:count]], 1).logits[0])
        if progress:
            progress(count, len(ids))
    return np.stack(rows)
