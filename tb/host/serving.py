"""A server on the golden chip, in this process, and what each text is alone."""

import contextlib
import functools
import threading
import time

import uvicorn
from scoville.config import CONFIGS
from scoville_host.runtime.generate import generate
from scoville_host.runtime.many.serve import open_requests, with_slots
from scoville_host.runtime.session import open_session
from scoville_host.serve import app
from scoville_host.serve.engine import Engine
from scoville_host.serve.keys import Keys

__all__ = ["CONTEXT", "Served", "alone", "running", "session_of"]

CONTEXT = 64
TEMPLATE = "{% for message in messages %}{{ message.content }} {% endfor %}"


@functools.cache
def session_of(slots):
    adapt = (lambda chip: with_slots(chip, slots)) if slots > 1 else (lambda chip: chip)
    session = open_session("tiny", CONFIGS["nano"], context=CONTEXT, adapt=adapt)
    session.tokenizer.template = TEMPLATE
    return session


@functools.cache
def alone(prompt, limit, temperature=0.0, seed=0, chat=False):
    """(text, logits ``[tokens, vocab]``) of a prompt, or of a message, alone on the golden chip."""
    session = session_of(1)
    tokenizer = session.tokenizer
    ids = tokenizer.encode_chat([{"role": "user", "content": prompt}]) if chat else tokenizer.encode(prompt)
    _, found = generate(session, ids, limit, temperature=temperature, seed=seed % (1 << 64),
                        stop_ids=session.stop_ids(), check=False)
    tokens = found.tokens[:-1] if found.tokens[-1] in session.stop_ids() else found.tokens
    return tokenizer.decode(tokens), found.logits


class Served:
    """A server that runs in a thread of its own.

    Members
    -------
    url : of the API
    engine : Engine
    """

    def __init__(self, keys=(), most=64, chip=None, slots=4, rows=True, session=None):
        session = session or session_of(slots)
        self.engine = Engine(chip or (lambda: open_requests(session, rows=True)), most)
        app.LIVE_SECONDS = 0.005  # a small model's passes are short
        self.service = app.Service(self.engine, session, "tiny", Keys(keys), rows)
        self._server = uvicorn.Server(uvicorn.Config(self.service.app, port=0, log_config=None, access_log=False))
        socket = self._server.config.bind_socket()
        self.url = f"http://127.0.0.1:{socket.getsockname()[1]}"
        self.engine.start()
        self._thread = threading.Thread(target=lambda: self._server.run([socket]), daemon=True)
        self._thread.start()
        self.until(lambda: self._server.started)

    @staticmethod
    def until(condition, seconds=30):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "it did not come"
            time.sleep(0.01)

    def idle(self):
        """Until no request is there, in the chip or outside."""
        self.until(lambda: not self.engine._count)
        self.until(lambda: not self.engine.seen.running)

    def close(self):
        self.engine.close(now=True)
        self._server.should_exit = True
        self._thread.join(10)
        assert self.engine.join(10) and not self._thread.is_alive()


@contextlib.contextmanager
def running(**options):
    served = Served(**options)
    try:
        yield served
    finally:
        served.close()
