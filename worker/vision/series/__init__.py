"""One series: predictions on its slices, eligibility, score, decision, findings and explanation."""
