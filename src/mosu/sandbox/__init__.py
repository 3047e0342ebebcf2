"""Running code that nobody vouches for: bubblewrap, seccomp, limits, and what it used."""
