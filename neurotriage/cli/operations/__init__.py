"""Commands for whoever operates the installation: how it stands."""
