"""The DICOM acceptor: who may send what, within which limits, and the C-STORE response once it is durable."""
