"""Transitions on their way: codec, spool, protocol, sender, ingest, journal, tail.

A process that reports makes an `outlet.Outlet`; one that reads makes a `tail_client.TailClient`.
"""
