"""An independent reference: llama.cpp, which shares no code with this project, on a GGUF file."""

import json

import numpy as np
import xllamacpp

__all__ = ["LlamaCpp"]


class LlamaCpp:
    """A model that llama.cpp has loaded, on one thread, with a KV cache of FP32.

    Parameters
    ----------
    path : GGUF file
    context : the most positions
    vocab : how many tokens it knows
    """

    def __init__(self, path, context, vocab):
        self.vocab = vocab
        settings = xllamacpp.CommonParams()
        settings.model.path = str(path)
        settings.n_ctx, settings.n_parallel, settings.warmup = context, 1, False
        settings.verbosity = 0
        settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = 1
        settings.cache_type_k = settings.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        self._server = xllamacpp.Server(settings)

    def log_probabilities(self, ids):
        """Of every token after each position of `ids`, from the whole text before it: float64 ``[len(ids), vocab]``."""
        found = np.full((len(ids), self.vocab), np.nan)
        for count in range(1, len(ids) + 1):
            answer = self._server.handle_completions({
                "prompt": [int(token) for token in ids[:count]], "n_predict": 1, "n_probs": self.vocab,
                "temperature": -1.0, "cache_prompt": True})
            answer = answer if isinstance(answer, dict) else json.loads(answer)
            for entry in answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]:
                found[count - 1, entry["id"]] = entry["logprob"]
        assert np.isfinite(found).all()
        return found
