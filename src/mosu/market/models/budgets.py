"""What an organisation lets itself, a project or a person spend in a month, and what is promised of it."""

from django.db import models
from django.db.models import Q

from mosu.platform.models import Organisation, Project, User
from mosu.platform.rows import Row


class BudgetState(models.TextChoices):
    SET = "set"
    LIFTED = "lifted"


class Budget(Row):
    """A month's cap for a whole organisation, one of its projects or one of its people; another cap is a new row."""

    prefix = "budget"

    organisation = models.ForeignKey(Organisation, on_delete=models.PROTECT, related_name="+")
    project = models.ForeignKey(Project, null=True, on_delete=models.PROTECT, related_name="+")
    user = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")
    cap_micros = models.BigIntegerField()
    state = models.CharField(max_length=10, choices=BudgetState, default=BudgetState.SET)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["organisation", "project", "user"],
                condition=Q(state="set"),
                nulls_distinct=False,
                name="budget_set_once",
            ),
            models.CheckConstraint(condition=Q(state__in=BudgetState.values), name="budget_state_known"),
            models.CheckConstraint(condition=Q(cap_micros__gte=0), name="budget_cap_not_negative"),
            models.CheckConstraint(
                condition=Q(project=None) | Q(user=None), name="budget_of_project_or_person"
            ),
        ]


class Spending(models.Model):
    """What orders placed in a month came to, or may come to at most while they are open; by whom a budget can cap.

    Three rows for each order: its organisation's, its project's, its person's. The database refuses one that would
    pass a budget, whoever else orders meanwhile.
    """

    id = models.BigAutoField(primary_key=True)
    organisation_id = models.UUIDField()
    project_id = models.UUIDField(null=True)
    user_id = models.UUIDField(null=True)
    month = models.DateField()
    """Its first day, in the hub's zone."""
    committed_micros = models.BigIntegerField()
    told_percent = models.PositiveSmallIntegerField(default=0)
    """The highest part of the budget of which people were told that it is spent."""

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["organisation_id", "project_id", "user_id", "month"],
                nulls_distinct=False,
                name="spending_once",
            ),
            models.CheckConstraint(condition=Q(committed_micros__gte=0), name="spending_not_negative"),
        ]


class BudgetEnd(models.Model):
    """A budget will be spent while an order's work runs, and end it: whoever placed the order was told, once."""

    id = models.BigAutoField(primary_key=True)
    order = models.OneToOneField("market.Order", on_delete=models.PROTECT, related_name="budget_end")
    budget = models.ForeignKey(Budget, on_delete=models.PROTECT, related_name="+", db_index=False)
    by = models.DateTimeField(null=True)
    """When, as fast as it is spent now; None: it is not near any more."""
    told_at = models.DateTimeField()
