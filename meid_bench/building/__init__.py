"""The parts of `build`: specifications, official files, the recipe, the user's own data."""
