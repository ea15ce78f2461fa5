"""Training: losses, optimisers, a trainer for each model, and the loop that they share."""
