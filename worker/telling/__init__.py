"""The text about a study after its analysis: told again, and asked of models of others."""
