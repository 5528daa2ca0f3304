"""The page at ``/``: files as they lie here, which load nothing from elsewhere."""

from importlib.resources import files

from starlette.responses import Response
from starlette.routing import Route

__all__ = ["page_routes"]

FILES = {"/": ("index.html", "text/html"), "/page/page.css": ("page.css", "text/css"),
         "/page/page.js": ("page.js", "text/javascript")}
HEADERS = {"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
                                      "form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
           "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}


def page_routes():
    return [*(Route(path, _answer(*what)) for path, what in FILES.items()), Route("/favicon.ico", _nothing)]


def _answer(name, kind):
    content = (files("scoville_host.serve") / "page" / name).read_bytes()

    async def answer(request):
        return Response(content, media_type=f"{kind}; charset=utf-8", headers=HEADERS)

    return answer


async def _nothing(request):
    """Browsers ask for an icon; an error would show in their console."""
    return Response(status_code=204)
