"""Locks, atomic files and framing: what must survive a crash or a power cut has its one home here."""
