"""DICOM shared by all rooms: headers, geometry, manifests, patients, UIDs, associations, commitment."""
