"""One series: is it a head, what do the slices say, which lesions, what follows, and what explains it."""
