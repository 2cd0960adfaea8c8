"""From the spool to rows and the store: headers are read, what cannot be used is set aside."""
