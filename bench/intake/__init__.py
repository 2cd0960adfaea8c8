"""How fast instances are taken, beside Orthanc and DCMTK in the same run, and what that costs."""
