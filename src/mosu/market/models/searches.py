"""What a person keeps to look for again."""

from django.db import models

from mosu.platform.models import User
from mosu.platform.rows import Row


class SavedSearch(Row):
    """A person's search of a shelf under a name of their own."""

    prefix = "search"

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    name = models.CharField(max_length=80)
    query = models.JSONField()
    """The address's parameters, as `catalogue.params_of` writes and `catalogue.search_of` reads them."""
    created_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "name"], name="saved_search_name_once")]

    def __str__(self) -> str:
        return self.name
