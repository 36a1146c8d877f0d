"""ASGI: requests are named in the watchdog's reports.

    app = boucle.asgi.named(app)

The name is the method and the path, such as ``GET /report``; never the query, headers or body.
"""

from . import _watching


def named(app):
    """The same ASGI application, whose requests the watchdog names by method and path."""

    async def application(scope, receive, send):
        if scope["type"] == "http":
            _watching.add(f"{scope['method']} {scope['path']}")
        elif scope["type"] == "websocket":
            _watching.add(f"WebSocket {scope['path']}")
        await app(scope, receive, send)

    return application
