"""Compares the I/O of loops with asyncio's: random programs over real sockets must be observed to do the same.

One end of each connection belongs to the loop, through a transport, a stream, a server or ``sock_*``. The other end is
a plain socket that the interpreter works itself, and only between two *settled points*: it lets the loop run until
nothing happens any more, and waits until the kernel has carried over what was sent. So no observation depends on time.

    programs.py      programs as data, and the strategies that draw them, one for each kind of program
    world.py         what all kinds share: how a program runs, how a loop settles, what is looked at in the end
    link.py          a connection: its plain end, and what is on the way
    transports.py    programs of a transport and its protocol, whose callbacks do things themselves
    streams.py       programs of readers and writers, asyncio's or boucle's own, whose tasks are cancelled at any turn
    sockets.py       programs of sock_recv, sock_sendall, sock_accept and sock_connect
    connections.py   programs of servers and of clients that connect
    differences.py   what is left out of the comparison on purpose, each with its reason
    mutations.py     wrong transports, each of which must be found

By hand, from the folder tests:

    python -m differential --io transports --amount 60s
    python -m differential --io transports --program '(0, …)'
"""
