"""Answers in the form of OpenAI's API: whole ones, and the chunks of a stream."""

import time

__all__ = ["ChatAnswer", "CompletionAnswer", "usage"]


def usage(prompt, completion, cached, times=None):
    """Counts of tokens; and `times` on the chip's clock, for who asks for them."""
    more = {} if times is None else {"scoville": times}
    return more | {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": cached}}


class _Answer:
    """What all parts of an answer say.

    Parameters
    ----------
    name : of the request
    model : its name
    tokenizer : Tokenizer
    """

    def __init__(self, name, model, tokenizer):
        self.id, self.model, self.tokenizer, self.created = f"{self.prefix}-{name}", model, tokenizer, int(time.time())

    def _body(self, kind, choices, counts=None):
        body = {"id": self.id, "object": kind, "created": self.created, "model": self.model, "choices": choices}
        return body if counts is None else body | {"usage": counts}

    def whole(self, choices, counts):
        return self._body(self.whole_kind, choices, counts)

    def counts(self, counts):
        """The last chunk, of counts alone."""
        return self._body(self.chunk_kind, [], counts)

    def _piece(self, token):
        return self.tokenizer.decode([token])


class ChatAnswer(_Answer):
    prefix, whole_kind, chunk_kind = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def choice(self, index, text, logs, reason):
        return {"index": index, "message": {"role": "assistant", "content": text, "refusal": None},
                "logprobs": self._logs(logs), "finish_reason": reason}

    def begin(self, index):
        """The first chunk of a choice."""
        return self._chunk(index, {"role": "assistant", "content": ""}, None, None)

    def part(self, index, text, logs):
        return self._chunk(index, {"content": text}, logs, None)

    def end(self, index, reason):
        return self._chunk(index, {}, None, reason)

    def _chunk(self, index, delta, logs, reason):
        return self._body(self.chunk_kind, [{"index": index, "delta": delta, "logprobs": self._logs(logs),
                                             "finish_reason": reason}])

    def _logs(self, logs):
        """`logs` is a list of (token, (its logarithm, likeliest)), or None."""
        if logs is None:
            return None
        return {"content": [self._token(token, log) | {"top_logprobs": [self._token(*each) for each in best]}
                            for token, (log, best) in logs], "refusal": None}

    def _token(self, token, log):
        piece = self._piece(token)
        return {"token": piece, "logprob": log, "bytes": list(piece.encode())}


class CompletionAnswer(_Answer):
    prefix, whole_kind, chunk_kind = "cmpl", "text_completion", "text_completion"

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._offsets = {}  # characters of each choice that were shown

    def choice(self, index, text, logs, reason):
        return {"index": index, "text": text, "logprobs": self._logs(index, text, logs), "finish_reason": reason}

    def begin(self, index):
        """Nothing: a completion's stream begins with its text."""

    def part(self, index, text, logs):
        return self._body(self.chunk_kind, [self.choice(index, text, logs, None)])

    def end(self, index, reason):
        return self._body(self.chunk_kind, [self.choice(index, "", None, reason)])

    def _logs(self, index, text, logs):
        start = self._offsets.get(index, 0)
        self._offsets[index] = start + len(text)
        if logs is None:
            return None
        offsets = []
        for token, _ in logs:
            offsets.append(start)
            start += len(self._piece(token))
        return {"tokens": [self._piece(token) for token, _ in logs], "text_offset": offsets,
                "token_logprobs": [log for _, (log, _) in logs],
                "top_logprobs": [{self._piece(each): log for each, log in best} for _, (_, best) in logs]}
