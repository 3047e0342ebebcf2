"""How tests keep passwords."""

from django.contrib.auth.hashers import ScryptPasswordHasher


class QuickScrypt(ScryptPasswordHasher):
    """The hub's own hasher at next to no cost: tests make thousands of people, and a hub's hash takes a quarter second."""

    work_factor = 2
