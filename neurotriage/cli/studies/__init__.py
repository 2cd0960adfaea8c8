"""Commands about studies: analyse a folder; see, explain, send again and redo what was analysed."""
