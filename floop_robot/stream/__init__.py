"""Transitions on their way: codec, spool, protocol, sender, ingest, journal."""
