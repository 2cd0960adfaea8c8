"""How well a model does: predictions, metrics, intervals, figures and plots."""
