"""Dream Engine: an offline replay cycle that keeps a chat model safe while it learns. Start at `cycle.run_cycle`."""
