"""What is learnt later: whose images they are, which were rejected, and what is withdrawn for it."""
