"""DICOM as every room reads and speaks it: headers, geometry, identity, UIDs, requestor, commitment."""
