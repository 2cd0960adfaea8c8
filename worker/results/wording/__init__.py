"""The words of results: titles, sentences, and a whole result as plain text."""
