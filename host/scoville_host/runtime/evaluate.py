"""What quantisation costs: perplexity, divergence from the float reference, and agreement on the likeliest token."""

import dataclasses
from pathlib import Path

import numpy as np

from ..errors import RequestError

__all__ = ["BACKENDS", "compare", "evaluate", "perplexity"]

BACKENDS = ("golden", "rtl", "float")
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
    against : ``"float"`` to compare with the float reference, or None
    config_name : named configuration; for ``golden`` its buffers are made large enough, which changes no result
    act_bits : in place of the configuration's
    weights : weight format for all matrices, or None to keep the checkpoint's
    progress : called with (tokens done, tokens)

    Returns
    -------
    dict with ``model``, ``backend``, ``act_bits`` (None for float), ``tokens``, ``perplexity`` and, with `against`,
    ``against``, ``reference_perplexity``, ``kl`` (mean, nats) and ``top1`` (share of positions).

    Raises
    ------
    RequestError
        If the request makes no sense: unknown backend, text too short, no tokenizer, missing packages.
    """
    from ..checkpoint.models import resolve

    if backend not in BACKENDS:
        raise RequestError(f"unknown backend {backend!r}; there are: {', '.join(BACKENDS)}")
    if against not in (None, "float"):
        raise RequestError(f"cannot compare against {against!r}; it must be 'float'")
    name, path = resolve(model)
    ids = _read_ids(path, text_path, tokens or DEFAULT_TOKENS)
    result = {"model": name, "backend": backend, "act_bits": None, "tokens": len(ids)}
    if backend == "float":
        logits = _float_logits(path, ids)
    else:
        image = _compile(path, name, backend, config_name, act_bits, weights, len(ids))
        result["act_bits"] = image.config.act_bits
        logits = (_golden_logits if backend == "golden" else _sequence_logits)(image, ids, progress)
    result["perplexity"] = perplexity(logits, ids)
    if against:
        reference = logits if backend == "float" else _float_logits(path, ids)
        kl, same = compare(reference, logits)
        result |= {"against": against, "reference_perplexity": perplexity(reference, ids), "kl": kl, "top1": same}
    return result


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
    return compile_model(load_checkpoint(path, name), config, weights=weights, context=context)


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
