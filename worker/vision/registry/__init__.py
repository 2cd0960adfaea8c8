"""What the committed weights are: cards, rules and hashes, each checked before anything is loaded."""
