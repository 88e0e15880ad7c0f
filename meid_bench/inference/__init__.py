"""A trained run: loaded, used for predictions, inspected."""
