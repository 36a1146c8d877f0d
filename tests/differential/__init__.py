"""Compares loops and tasks with asyncio's: random programs must be observed to do the same on both.

    programs.py      a program as data, and the strategy that draws them
    interpreter.py   runs a program on a loop and returns what was observed
    operations.py    what each statement of a program does
    observing.py     how values, exceptions and states become plain data without addresses
    virtual_time.py  time that passes only when nothing else is ready
    subjects.py      what is compared with asyncio, by name: boucle, and mutants of asyncio's own tasks
    mutations.py     the lines that the mutants change
    io/              the same for programs with sockets
    search.py        looks for a program that tells a subject from asyncio, and explains it

By hand, from the folder tests:

    python -m differential --amount 60s             search, with a new seed each time
    python -m differential --program '(0, …)'       run one program, and show both traces
"""
