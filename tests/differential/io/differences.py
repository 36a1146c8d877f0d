"""What is not compared, with the reason. Everything else is.

WRITES_LEAVE_TOGETHER  boucle hands the writes of one step to the kernel together, when the step returns. So what the
                       peer has is looked at after the step. How much the kernel takes depends on how the bytes were
                       divided among the calls: while a step's second write waits for the peer, the size of the write
                       buffer, pause_writing and resume_writing are nobody's promise. That all bytes come, and in
                       order, is compared; and that the protocol is not paused once everything has come. Until
                       then nothing ends: neither transport nor peer closes or shuts down. Where connections are
                       compared that may be broken, a write is followed by get_write_buffer_size(), which sends.
CONTEXTS               boucle keeps the context of a connection for all its callbacks; asyncio takes that of the last
                       call of resume_reading. No program sets a context variable.
NODELAY                When and where TCP_NODELAY is set. The option is not read.
KERNEL                 How much TCP takes before it refuses depends on when acknowledgements come. With more than
                       CARRIED_BY_TCP bytes on the way, the same is left out.
WRITELINES_LATE        writelines on a transport that closes fails in some versions of asyncio, each with another
                       internal error (a TypeError about None, an AttributeError). Programs do not do it.
EMPTY_PIECES           A piece of nothing stays in asyncio's buffer after writelines from 3.12 on: what is written next
                       waits for the peer behind it. boucle drops it. Programs write no such pieces.
AFTER_THE_LOSS         What connection_lost() itself writes may stay in asyncio's buffer for ever. How much is there
                       once the socket is closed is not compared.
BROKEN                 Where asyncio itself fails with an internal error, an attribute of None, a program is not judged:
                       abort() or write() after a connection whose last bytes were written late, close() inside of
                       resume_writing (asyncio then ends the connection twice), start_serving() of a server that was
                       closed. Programs leave out what is known to end so.
ORDER_OF_CLIENTS       close_clients() and abort_clients() go through a set, in the order of addresses: what follows is
                       sorted.
PAUSED_AT_ONCE         On 3.10 asyncio reads on after pause_reading() inside of connection_made. Programs do not do it.
ABANDONED              A connection whose server is closed before its transport is made: asyncio fails to make it, and
                       keeps its socket open until the collector takes it. boucle closes it at once.
DYING_SOCKETS          Whether a transport that was dropped closes its socket before the socket itself warns depends on
                       the order in which a cycle of garbage is torn apart. The transport's warning is compared.
HANDLES                The exception handler's key "handle", and what a message says about the callback that raised.
"""

CARRIED_BY_TCP = 30_000
LEFT_OUT_OF_REPORTS = {"handle", "source_traceback"}
ABANDONED = "abandoned"
INTERNAL_ERRORS = ("'NoneType' object", "Data should not be empty")
