"""Commands that run until they are done or stopped: listener, workers, all at once, the demo."""
