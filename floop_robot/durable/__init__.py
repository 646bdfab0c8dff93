"""Locks, atomic files, folders and framing: what must survive a power cut, once."""
