"""Values, settings, storage paths and errors, which every room uses."""
