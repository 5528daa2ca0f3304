"""The server as a process: sockets, signals, and an end that waits for who is being served."""

import ipaddress
import logging
import sys
import threading

import uvicorn

from ..errors import RequestError
from .app import Service
from .engine import Engine
from .keys import Keys

__all__ = ["check_host", "serve"]

GRACE = 5  # seconds in which answers that are complete may still be read
CONNECTIONS = 1024


def check_host(host, keys):
    """Refuse another address than a loopback one without keys; RequestError."""
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        raise RequestError(f"--host is {host!r}; it must be an IP address, or localhost") from None
    if not loopback and not keys:
        raise RequestError(f"--host {host} without --keys: whoever reaches it could ask; it must be 127.0.0.1, or give "
                           "--keys FILE")


class _Server(uvicorn.Server):
    """At the first signal new requests get 503, and those that are there end; at the second all end at once."""

    def __init__(self, config, engine, report):
        super().__init__(config)
        self._engine, self._report, self._asked = engine, report, False

    def handle_exit(self, sig, frame):
        if self._asked:
            self._engine.close(now=True)
            return
        self._asked = True
        self._report("shutting down when what is being computed has ended; once more to end at once")
        self._engine.close()
        threading.Thread(target=self._end, daemon=True).start()

    def _end(self):
        self._engine.join()
        self.should_exit = True


def serve(session, chip, *, host, port, name, keys, rows, most, report, ready=lambda url: None):
    """Serve until a signal comes.

    Parameters
    ----------
    session : Session with a tokenizer
    chip : of `Engine`
    host, port : to listen at; port 0 takes a free one
    name : of the model
    keys : list of Key
    rows : whether the chip keeps logits
    most : choices that may be there at a time
    report : called with a line of text about each step
    ready : called with the URL when requests can come

    Raises
    ------
    RequestError
        If the address cannot be had.
    """
    check_host(host, keys)
    log = logging.StreamHandler(sys.stderr)
    log.setFormatter(logging.Formatter("%(message)s"))
    logging.getLogger("scoville.serve").addHandler(log)
    logging.getLogger("scoville.serve").setLevel(logging.INFO)
    engine = Engine(chip, most)
    service = Service(engine, session, name, Keys(keys), rows)
    server = _Server(uvicorn.Config(service.app, host=host, port=port, log_config=None, access_log=False,
                                    server_header=False, limit_concurrency=CONNECTIONS,
                                    timeout_graceful_shutdown=GRACE), engine, report)
    try:
        socket = server.config.bind_socket()
    except SystemExit:
        raise RequestError(f"--port {port}: the address {host}:{port} cannot be had; another process may have it") \
            from None
    socket.listen(CONNECTIONS)  # who comes from now on waits for the rest
    url = f"http://{host}:{socket.getsockname()[1]}"
    engine.start()
    report(f"serving {name} at {url}/v1")
    ready(url)
    try:
        server.run(sockets=[socket])
    finally:
        engine.close(now=True)
        engine.join()
