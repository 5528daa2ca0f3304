"""The page at ``/``: files as they lie here, which load nothing from elsewhere."""

import json
from importlib.resources import files

from scoville.registers import STALLS
from starlette.responses import Response
from starlette.routing import Route

__all__ = ["page_routes"]

FILES = {"/": ("index.html", "text/html"), "/page/page.css": ("page.css", "text/css"),
         **{f"/page/{name}.js": (f"{name}.js", "text/javascript") for name in ("page", "chip", "help")},
         "/grafana.json": ("grafana.json", "application/json")}
HEADERS = {"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
                                      "form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
           "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}


def page_routes():
    found = [Route(path, _answer((files("scoville_host.serve") / "page" / name).read_bytes(), kind))
             for path, (name, kind) in FILES.items()]
    return [*found, Route("/page/stalls.json", _answer(json.dumps(STALLS), "application/json")),
            Route("/favicon.ico", _nothing)]


def _answer(content, kind):
    async def answer(request):
        return Response(content, media_type=f"{kind}; charset=utf-8", headers=HEADERS)

    return answer


async def _nothing(request):
    """Browsers ask for an icon; an error would show in their console."""
    return Response(status_code=204)
