"""A trained run at work: loaded, asked for predictions, looked into."""
