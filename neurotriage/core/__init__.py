"""What every room says and nobody owns: values, settings, storage paths, errors."""
