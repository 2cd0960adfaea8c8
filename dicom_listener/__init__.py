"""All that happens before the queue: receive, spool, ingest, assemble, dispatch.

``dicom_listener.service.run`` composes it. Nothing is imported here: the child that reads headers starts
from this package and needs little of it.
"""
