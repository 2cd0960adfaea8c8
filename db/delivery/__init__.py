"""Results on their way to destinations: who may send, how far each has come, whether it is proven."""
