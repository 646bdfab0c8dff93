/* Reads the rest of a ZeroMQ message, part by part, and drops it. transport/pass_over.py says why, and calls it.

Plain C without libraries, called through ctypes, with the functions of the libzmq that pyzmq has loaded. */

/* zmq_msg_t of zmq.h: its size and alignment have been the same in every libzmq 4. */
typedef union {
    unsigned char bytes[64];
    void *pointer;
} Message;

typedef int (*OfMessage)(Message *);
typedef int (*Receive)(Message *, void *socket, int flags);

enum { DONT_WAIT = 1 };

/* Whether the message has ended; if not, a part of it could not be read. */
int floop_pass_over(void *socket, OfMessage init, Receive receive, OfMessage more, OfMessage close)
{
    Message part;
    int has_more = 1;

    init(&part);
    while (has_more && receive(&part, socket, DONT_WAIT) >= 0)
        has_more = more(&part);
    close(&part);
    return !has_more;
}
