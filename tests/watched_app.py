"""An ASGI application that starves its own chat: the handler of /report parses 40 MB of JSON between two awaits."""

import asyncio
import json
import logging
import os

import boucle

CHATS = 37

if os.environ.get("LOG"):
    logging.basicConfig(format="%(levelname)s %(name)s %(message)s")

body = "[" + ",".join(["12345678.9"] * (40 * 2**20 // 11)) + "]"


async def chat():
    while True:
        await asyncio.sleep(0.001)


async def report():
    rows = json.loads(body)
    return len(rows)


async def lifespan(receive, send):
    chats = []
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            chats = [asyncio.create_task(chat()) for _ in range(CHATS)]
        else:
            for task in chats:
                task.cancel()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    count = await report() if scope["path"] == "/report" else 0
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"%d rows" % count})


app = boucle.asgi.named(application)
