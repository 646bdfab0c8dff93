"""Transitions on their way: codec, spool, protocol, sender, ingest, journal, tail.

A process that reports makes an `uploader.RecordUploader`; one that reads makes a `tail_client.TailClient`.
"""
