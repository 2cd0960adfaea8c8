"""Everything before the queue: receive, spool, ingest, assemble, dispatch.

``dicom_listener.service.run`` composes it. This file imports nothing, so that the child process that reads
headers starts fast.
"""
