"""To answer a request here and now, and to know whether anybody was there to hear it."""

from aiohttp import web


async def answered(request: web.Request, response: web.StreamResponse) -> bool:
    """Write all of *response* to the socket; False when the connection has gone before."""
    try:
        await response.prepare(request)
        await response.write_eof()
    except ConnectionError:
        return False
    return request.transport is not None and not request.transport.is_closing()


def hung_up(request: web.Request) -> web.StreamResponse:
    """No answer at all: the connection is reset."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)  # goes nowhere
