"""The tables of all tenants."""

from __future__ import annotations

from django.db import models


class Tenant(models.Model):
    name = models.CharField(max_length=80)
    slug = models.SlugField(unique=True)

    def __str__(self) -> str:
        return self.name


class Setting(models.Model):
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="settings")
    name = models.CharField(max_length=40)
    value = models.CharField(max_length=200)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "name"], name="one_value")]

    def __str__(self) -> str:
        return f"{self.name}={self.value}"


class Member(models.Model):
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="members")
    name = models.CharField(max_length=80)
    last_seen = models.DateTimeField()

    def __str__(self) -> str:
        return self.name


class Project(models.Model):
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="projects")
    name = models.CharField(max_length=80)

    def __str__(self) -> str:
        return self.name


class Ticket(models.Model):
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="tickets")
    project = models.ForeignKey(Project, models.CASCADE, related_name="tickets")
    assignee = models.ForeignKey(Member, models.SET_NULL, null=True, related_name="tickets")
    number = models.IntegerField()
    title = models.CharField(max_length=120)
    state = models.CharField(max_length=10, db_index=True)
    is_urgent = models.BooleanField(default=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "number"], name="one_number")]

    def __str__(self) -> str:
        return self.title


class Note(models.Model):
    ticket = models.ForeignKey(Ticket, models.CASCADE, related_name="notes")
    text = models.TextField()
    created = models.DateTimeField()

    def __str__(self) -> str:
        return self.text
