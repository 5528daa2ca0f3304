"""An independent reference of texts and tokens: llama.cpp's tokenizer, on a GGUF file."""

import json
from urllib.request import Request, urlopen

from scoville_host.runtime import llama_cpp

__all__ = ["LlamaCpp"]


class LlamaCpp(llama_cpp.LlamaCpp):
    """What `scoville eval` runs, and its ways with text."""

    def tokens(self, text, framed=True):
        """Ids of a text in which special tokens are what they say; `framed` with BOS and EOS where texts get them."""
        return self._post("tokenize", {"content": text, "add_special": framed, "parse_special": True})["tokens"]

    def ends(self, token):
        """Whether its text ends with this token."""
        answer = self._post("completion", {"prompt": [0], "n_predict": 2, "temperature": -1.0,
                                           "logit_bias": [[token, 10000.0]]})
        return answer["stop_type"] == "eos"

    def _post(self, place, body):
        request = Request(f"{self.server.listening_address}/{place}", json.dumps(body).encode(),
                          {"Content-Type": "application/json"})
        with urlopen(request, timeout=60) as answer:
            return json.load(answer)
