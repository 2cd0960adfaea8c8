"""Commands for whoever installs: database, configuration, weights, engines, and whether all of it works."""
