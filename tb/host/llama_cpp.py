"""An independent reference: llama.cpp, which shares no code with this project, on a GGUF file."""

import json
from urllib.request import Request, urlopen

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

    def tokens(self, text, framed=True):
        """Ids of a text in which special tokens are what they say; `framed` with BOS and EOS where texts get them."""
        return self._post("tokenize", {"content": text, "add_special": framed, "parse_special": True})["tokens"]

    def ends(self, token):
        """Whether its text ends with this token."""
        answer = self._post("completion", {"prompt": [0], "n_predict": 2, "temperature": -1.0,
                                           "logit_bias": [[token, 10000.0]]})
        return answer["stop_type"] == "eos"

    def _post(self, place, body):
        request = Request(f"{self._server.listening_address}/{place}", json.dumps(body).encode(),
                          {"Content-Type": "application/json"})
        with urlopen(request, timeout=60) as answer:
            return json.load(answer)
