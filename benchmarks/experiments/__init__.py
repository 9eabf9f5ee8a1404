"""The experiments, one a module, in the order of the table."""
