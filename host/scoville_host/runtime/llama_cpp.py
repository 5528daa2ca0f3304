"""llama.cpp, which shares no code with this project, on a GGUF file: the PyPI package xllamacpp."""

import json

import numpy as np

from ..errors import RequestError

__all__ = ["LlamaCpp", "find_llama_cpp"]

LEAST = -104.0  # below the log of every FP32 number above 0: what llama.cpp gives a probability that underflowed


def find_llama_cpp():
    """The module xllamacpp.

    Raises
    ------
    RequestError
        If it is not installed.
    """
    try:
        import xllamacpp
    except ImportError:
        raise RequestError("llama.cpp needs the package xllamacpp: pip install 'scoville[llama]'") from None
    return xllamacpp


class LlamaCpp:
    """A model that llama.cpp has loaded, on one thread.

    Parameters
    ----------
    path : GGUF file
    context : the most positions
    vocab : how many tokens it knows
    kv : GGML's name for the type of the KV cache: ``F32``, ``F16``, ``Q8_0`` ...

    Raises
    ------
    RequestError
        If xllamacpp is not installed, or llama.cpp does not take the file with such a cache.
    """

    def __init__(self, path, context, vocab, kv="F32"):
        xllamacpp = find_llama_cpp()
        self.vocab = vocab
        settings = xllamacpp.CommonParams()
        settings.model.path = str(path)
        settings.n_ctx, settings.n_parallel, settings.warmup = context, 1, False
        settings.verbosity = 0
        settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = 1
        settings.cache_type_k = settings.cache_type_v = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{kv}")
        try:
            self.server = xllamacpp.Server(settings)
        except (RuntimeError, ValueError) as error:
            raise RequestError(f"{path}: llama.cpp does not take it with a KV cache of {kv} ({error})") from None

    def log_probabilities(self, ids, progress=None):
        """Of every token after each position of `ids`, from the whole text before it: float64 ``[len(ids), vocab]``.

        The cache holds what earlier positions put there, so its type counts. `progress` is called with (positions
        done, positions).
        """
        found = np.full((len(ids), self.vocab), np.nan)
        for count in range(1, len(ids) + 1):
            answer = self.server.handle_completions({
                "prompt": [int(token) for token in ids[:count]], "n_predict": 1, "n_probs": self.vocab,
                "temperature": -1.0, "cache_prompt": True})
            answer = answer if isinstance(answer, dict) else json.loads(answer)
            if "choices" not in answer:
                raise RequestError(f"llama.cpp refuses the tokens: {answer.get('message', answer)}")
            for entry in answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]:
                found[count - 1, entry["id"]] = entry["logprob"]
            if progress:
                progress(count, len(ids))
        if np.isnan(found).any():
            raise RequestError(f"llama.cpp does not know all of the {self.vocab} tokens")
        return np.maximum(found, LEAST)
