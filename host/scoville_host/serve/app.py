"""The HTTP side: OpenAI's routes, health and metrics, as an ASGI application."""

import asyncio
import contextlib
import json
import logging
import secrets
import time

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from ..errors import RequestError
from .answers import ChatAnswer, CompletionAnswer, usage
from .choices import Choices
from .errors import ApiError, error_body
from .measures import Measures
from .page_routes import page_routes
from .schemas import ChatRequest, CompletionRequest, parse

__all__ = ["MOST_BODY", "Service"]

MOST_BODY = 1 << 20  # bytes
BODY_SECONDS = 30
TIMES = "Scoville-Times"  # a header: who sends it has times on the chip's clock beside the counts of tokens
LIVE_SECONDS = 0.1
EVENTS = {"media_type": "text/event-stream", "headers": {"Cache-Control": "no-cache"}}
ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
LOG = logging.getLogger("scoville.serve")


class Service:
    """Requests of clients, one after the other or many at a time.

    Parameters
    ----------
    engine : Engine
    session : Session with a tokenizer
    name : of the model
    keys : Keys
    rows : whether the chip keeps logits, for `logprobs`

    Members
    -------
    app : the ASGI application
    """

    def __init__(self, engine, session, name, keys, rows):
        self.engine, self.session, self.name, self.keys, self.rows = engine, session, name, keys, rows
        self.measures = Measures(engine, name)
        self.since = int(time.time())
        self.app = Starlette(routes=[
            Route("/v1/models", self.models), Route("/v1/models/{name:path}", self.model),
            Route("/v1/chat/completions", self.chat, methods=["POST"]),
            Route("/v1/completions", self.complete, methods=["POST"]),
            Route("/health", self.health), Route("/metrics", self.metrics), Route("/live", self.live),
            *page_routes(),
        ], exception_handlers={ApiError: _api_error, HTTPException: _http_error, Exception: _fault})

    # what there is

    async def models(self, request):
        self.keys.find(request.headers.get("authorization"))
        return JSONResponse({"object": "list", "data": [self._model()]})

    async def model(self, request):
        self.keys.find(request.headers.get("authorization"))
        self._check_model(request.path_params["name"])
        return JSONResponse(self._model())

    def _model(self):
        return {"id": self.name, "object": "model", "created": self.since, "owned_by": "scoville",
                "max_model_len": self.session.image.context}

    def _check_model(self, name):
        if name != self.name:
            raise ApiError(404, f"there is no model {name[:100]!r}; there is: {self.name}", param="model",
                           code="model_not_found")

    async def health(self, request):
        """200 while there is a chip."""
        return Response(status_code=503 if self.engine.failed else 200)

    async def metrics(self, request):
        self.keys.find(request.headers.get("authorization"))
        return Response(self.measures.text(), media_type="text/plain; version=0.0.4")

    async def live(self, request):
        """What the chip does, an event whenever that has changed; of slots, those of the asker's tenant."""
        tenant = self.keys.tenant(self.keys.find(request.headers.get("authorization")))
        return StreamingResponse(self._live(tenant), **EVENTS)

    async def _live(self, tenant):
        last = None
        while not self.engine.failed:
            if self.engine.seen != last:
                last = self.engine.seen
                slots = [slot for slot in last.slots if slot["tenant"] == tenant]
                yield _event(vars(last) | {"slots": slots, "context": self.session.image.context})
            await asyncio.sleep(LIVE_SECONDS)

    # completions

    async def chat(self, request):
        user, asked = await self._asked(request, ChatRequest)
        tokenizer = self.session.tokenizer
        if not tokenizer.template:
            raise ApiError(400, f"{self.name} has no chat template; use /v1/completions")
        prompt = self._ids(tokenizer.encode_chat, [message.plain() for message in asked.messages])
        return await self._answer(request, user, asked, [prompt], ChatAnswer)

    async def complete(self, request):
        user, asked = await self._asked(request, CompletionRequest)
        prompts = [self._ids(self.session.tokenizer.encode, each) if isinstance(each, str) else each
                   for each in asked.prompts]
        return await self._answer(request, user, asked, prompts, CompletionAnswer)

    def _ids(self, encode, what):
        try:
            return encode(what)
        except RequestError as error:
            raise ApiError(400, str(error)) from None

    async def _asked(self, request, kind):
        user = self.keys.find(request.headers.get("authorization"))
        asked = parse(kind, await _body(request))
        self._check_model(asked.model)
        if asked.top is not None and not self.rows:
            raise ApiError(400, "this server keeps no logits, so it has no logprobs (scoville serve --logprobs)",
                           param="logprobs")
        return user, asked

    async def _answer(self, request, user, asked, prompts, form):
        context, longest = self.session.image.context, max(map(len, prompts))
        if longest + (asked.limit or 1) > context + 1:
            raise ApiError(400, f"{longest} tokens of prompt and {asked.limit or 1} more; the context has {context}",
                           param="max_tokens", code="context_length_exceeded")
        choices = Choices(self.engine, self.session, self.measures, asked, prompts, self.keys.tenant(user))
        count = len(choices.jobs)
        limits = [job.limit for job in choices.jobs]
        self.keys.admit(user, count, max(limits), sum(limits) + sum(len(job.prompt) for job in choices.jobs))
        answer = form(secrets.token_hex(12), self.name, self.session.tokenizer)
        timed = TIMES in request.headers
        done = contextlib.ExitStack()
        done.callback(lambda: self.keys.release(user, count, sum(limits) - sum(choices.tokens)))
        done.callback(_log, answer.id, self.keys.name(user), choices, prompts, time.monotonic())
        done.callback(choices.cancel)
        try:
            choices.begin()
            if not asked.stream:
                return JSONResponse(await _or_gone(request, _whole(answer, prompts, choices, timed)))
            # The first part comes before the headers go: what fails at once has a status of its own.
            parts = choices.parts()
            first = await _or_gone(request, anext(parts))
            return _Events(_stream(answer, asked, prompts, choices, first, parts, timed), done.pop_all())
        except ClientDisconnect:
            return Response(status_code=499)
        finally:
            done.close()


class _Events(StreamingResponse):
    """Server-sent events; `done` is closed however the response ends."""

    def __init__(self, events, done):
        super().__init__(events, **EVENTS)
        self._done = done

    async def __call__(self, *arguments):
        with self._done:
            await super().__call__(*arguments)


async def _body(request):
    """The body, if it is not too large, and comes in time."""
    found = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                found += part
                if len(found) > MOST_BODY:
                    raise ApiError(413, f"the body has more than {MOST_BODY:,} bytes")
    except TimeoutError:
        raise ApiError(408, f"the body did not come within {BODY_SECONDS} seconds") from None
    except ClientDisconnect:
        raise ApiError(400, "the body ended early") from None
    return bytes(found)


async def _or_gone(request, work):
    """What `work` gives; ClientDisconnect as soon as the client has gone away."""
    async def gone():
        while (await request.receive())["type"] != "http.disconnect":
            pass

    tasks = [asyncio.ensure_future(work), asyncio.ensure_future(gone())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not tasks[0].done():
            raise ClientDisconnect
        return tasks[0].result()
    finally:
        for task in tasks:
            task.cancel()


async def _whole(answer, prompts, choices, timed):
    texts, logs, reasons = ([None] * len(choices.jobs) for _ in range(3))
    async for index, text, more, reason in choices.parts():
        texts[index] = (texts[index] or "") + text
        if more is not None:
            logs[index] = (logs[index] or []) + more
        reasons[index] = reason or reasons[index]
    return answer.whole([answer.choice(index, *each) for index, each in enumerate(
        zip(texts, logs, reasons, strict=True))], _usage(prompts, choices, timed))


async def _stream(answer, asked, prompts, choices, first, parts, timed):
    """Events; those of parts that are there together go together."""
    try:
        held = [_event(begin) for index in range(len(choices.jobs)) if (begin := answer.begin(index))]
        part = first
        while part is not None:
            index, text, logs, reason = part
            if text or logs:
                held.append(_event(answer.part(index, text, logs)))
            if reason:
                held.append(_event(answer.end(index, reason)))
            if held and not choices.more:
                yield "".join(held)
                held.clear()
            part = await anext(parts, None)
        if asked.usage_at_the_end:
            held.append(_event(answer.counts(_usage(prompts, choices, timed))))
        yield "".join([*held, "data: [DONE]\n\n"])
    except ApiError as error:
        yield "".join([*held, _event(error.body)])


def _event(body):
    return f"data: {ENCODER.encode(body)}\n\n"


def _usage(prompts, choices, timed):
    return usage(sum(map(len, prompts)), sum(choices.tokens), choices.cached, choices.times if timed else None)


def _log(name, user, choices, prompts, since):
    """A line of JSON for each request, when it has ended."""
    LOG.info(json.dumps({"request": name, "key": user, "choices": len(choices.jobs), "prompt": sum(map(len, prompts)),
                         "tokens": sum(choices.tokens), "seconds": round(time.monotonic() - since, 3)}))


async def _api_error(request, error):
    return JSONResponse(error.body, status_code=error.status, headers=error.headers)


async def _http_error(request, error):
    return JSONResponse(error_body(error.status_code, error.detail), status_code=error.status_code,
                        headers=error.headers)


async def _fault(request, error):
    """Nothing of what went wrong inside is told."""
    return JSONResponse(error_body(500, "the server failed"), status_code=500)
