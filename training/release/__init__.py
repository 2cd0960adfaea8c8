"""From trained weights to an entry of the registry: calibration, export, study rule, cards."""
