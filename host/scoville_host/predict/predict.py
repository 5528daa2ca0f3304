"""The work behind ``scoville predict``: cycles of a workload from the analytical model."""

import numpy as np
from scoville.memory.reader import reader_sizes

from ..errors import RequestError
from ..report.summary import passes, summary
from ..runtime.backend import Result
from ..runtime.rtl import DEFAULT_MEMORY, as_host_error, check_memory
from ..runtime.session import DEFAULT_CONFIGS, find_config, open_session
from .cycles import PassCycles, memory_of
from .outline import compile_outline, fitted, is_outline, picked, read_outline, set_fields, sort_of_layer

__all__ = ["predict", "predict_image", "predict_outline"]

LAYERS = 2  # of an outline that are walked in any case


def predict_image(image, prompt_tokens, decode_tokens, *, position=0, memory=None, patience=None):
    """The `Cycles` of a sequence on an `Image`: `prompt_tokens` in from `position` on, `decode_tokens` out.

    `patience` : see `Steady`.
    """
    from scoville_sim import SimError

    every = passes(prompt_tokens, decode_tokens, image.config.seats, position)
    try:
        known = memory_of(check_memory(memory or DEFAULT_MEMORY), image.config.bus_bytes, reader_sizes(image.config)[0])
    except SimError as error:  # a DRAM's rate is measured, with a model that is compiled once
        raise as_host_error(error) from None
    return PassCycles(image, known, patience).sequence(every, prompt_tokens)


def predict_outline(outline, config, prompt_tokens, decode_tokens, *, weights=None, context=None, **options):
    """The same of a model without weights, in `config`: layers that are alike are walked once.

    `LAYERS` are walked to begin with, then those and one more of each sort that is left; the rest follows.
    """
    def cycles(numbers):
        image = compile_outline(picked(outline, numbers), config, weights=weights, context=context)
        return predict_image(image, prompt_tokens, decode_tokens, **options)

    begin = list(range(min(LAYERS, outline.layers)))
    found = walked = cycles(begin)
    rest = [sort_of_layer(outline, n) for n in range(len(begin), outline.layers)]
    for sort in dict.fromkeys(rest):
        more = cycles([*begin, len(begin) + rest.index(sort)])
        found = found.plus(walked, more, rest.count(sort))
    return found


def predict(model, config=None, prompt_tokens=16, decode_tokens=16, *, settings=(), weights=None, context=None,
            position=0, memory=None, report=lambda line: None):
    """Predict what `generate.bench` would measure.

    Parameters
    ----------
    model : as for `open_session`, or a model without weights, see `read_outline`.
    config : name of a configuration. Without weights, its buffers are enlarged to what the model needs.
    settings : texts such as ``rows=8``, changes of the configuration.

    Returns
    -------
    dict with the keys of `summary` that a prediction can give

    Raises
    ------
    RequestError
        If the request cannot be met.
    """
    if prompt_tokens < 1 or decode_tokens < 1 or position < 0:
        raise RequestError(f"{prompt_tokens} prompt and {decode_tokens} decode tokens from position {position} on; "
                           "there must be at least one of each, and the position must not be negative")
    check_memory(memory or DEFAULT_MEMORY)
    needed = position + prompt_tokens + decode_tokens - 1
    options = {"position": position, "memory": memory}
    if is_outline(model):
        outline = read_outline(model)
        if needed > outline.context:
            raise RequestError(f"{needed} positions do not fit the context of {model}, {outline.context}")
        chosen = fitted(set_fields(find_config(config or DEFAULT_CONFIGS[-1]), settings), outline)
        image = compile_outline(outline, chosen, weights=weights, context=context or needed)
        found = predict_outline(outline, chosen, prompt_tokens, decode_tokens, weights=weights,
                                context=context or needed, **options)
    else:
        chosen = set_fields(find_config(config or DEFAULT_CONFIGS[0]), settings) if config or settings else None
        image = open_session(model, chosen, weights=weights, context=context or (needed if position else None),
                             report=report, text=False).image
        if needed > image.context:
            raise RequestError(f"{needed} positions do not fit a context of {image.context} (see --context)")
        found = predict_image(image, prompt_tokens, decode_tokens, **options)
    return _numbers(image, found, prompt_tokens, decode_tokens, position) | {"memory": memory or DEFAULT_MEMORY}


def _numbers(image, found, prompt_tokens, decode_tokens, position):
    """The prediction in the form of a result."""
    result = Result(tokens=[0] * decode_tokens, logits=np.zeros(0, np.float32), seconds=0.0, cycles=round(found.cycles),
                    prefill_cycles=round(found.prefill), beats=round(found.beats), work=round(found.work),
                    stalls={name: round(count) for name, count in sorted(found.stalls.items())})
    numbers = summary(image, result, prompt_tokens, "model", position=position)
    unknown = ("tokens", "text", "sim_seconds", "cycles_per_second", "golden_match")
    return {key: value for key, value in numbers.items() if key not in unknown}
