"""A small web application, to be served on boucle:

    uvicorn app:app --loop boucle:new_event_loop
    boucle record -o run.svg -m uvicorn app:app --loop boucle:new_event_loop

Needs fastapi and uvicorn.
"""

import asyncio
import os

from fastapi import FastAPI

app = FastAPI()


@app.get("/square/{number}")
async def square(number: int):
    await asyncio.sleep(0)
    return {"number": number, "square": number * number}


@app.get("/loop")
async def loop():
    """Which loop serves this, in which process."""
    kind = type(asyncio.get_running_loop())
    return {"loop": f"{kind.__module__}.{kind.__qualname__}", "pid": os.getpid()}
