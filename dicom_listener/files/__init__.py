"""DICOM files (PS3.10) into the spool: of a folder, of a STOW-RS request, of a WADO-RS answer."""
