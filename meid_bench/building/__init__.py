"""The parts of `build`: specifications, official files, the user's own data."""
