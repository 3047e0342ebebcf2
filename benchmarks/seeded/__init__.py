"""A hub that has been open for most of a year: made up, the same for the same seed, and its books add up."""
