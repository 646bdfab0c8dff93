"""ZeroMQ between hosts: sockets and requests with retries."""
