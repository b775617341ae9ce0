"""The pages and the writes of the tenants, as a site's authors would write them."""

from __future__ import annotations

from datetime import datetime
from random import Random
from typing import Any

from django.db.models import Count, Q
from django.db.models.signals import post_delete, post_save

from benchmarks.hit_rate.tenants.models import Member, Note, Project, Setting, Tenant, Ticket
from benchmarks.hit_rate.workload import BEGIN, Forget, Read, Site, Zipf

TENANTS, MEMBERS, PROJECTS, TICKETS = 40, 4, 3, 20  # the last three: of each tenant
NAMES = ("language", "logo", "plan", "time zone")
OPEN, CLOSED = "open", "closed"
TENANT, SETTINGS = "tenant by slug", "settings of a tenant"
PROJECT_LIST, OPEN_LIST = "projects with open tickets", "open tickets"
TICKET, NOTES = "ticket by number", "notes of a ticket"
STATES, URGENT = "tickets by state", "anything urgent"
MEMBER_LIST, MINE = "members of a tenant", "tickets of a member"


def keys_of(tenant: int, count: int) -> range:
    """Return the keys of a tenant's members or projects."""
    return range((tenant - 1) * count + 1, tenant * count + 1)


class Tenants(Site):
    def __init__(self) -> None:
        self.tenants, self.numbers = Zipf(TENANTS), Zipf(TICKETS)
        self.pages = [
            (self.open_ticket, 45),
            (self.open_list, 30),
            (self.open_dashboard, 15),
            (self.open_member, 10),
        ]
        self.writes = [
            (self.add_note, 35),
            (self.change_state, 30),
            (self.open_new, 20),
            (self.stamp_member, 10),
            (self.change_setting, 5),
        ]
        self.timeouts = {STATES: 60, URGENT: 60, PROJECT_LIST: 60}

    def create_rows(self, chance: Random) -> None:
        tenants = range(1, TENANTS + 1)
        Tenant.objects.bulk_create(
            Tenant(pk=number, name=f"Tenant {number}", slug=f"tenant-{number}")
            for number in tenants
        )
        Setting.objects.bulk_create(
            Setting(tenant_id=tenant, name=name, value="") for tenant in tenants for name in NAMES
        )
        Member.objects.bulk_create(
            Member(pk=key, tenant_id=tenant, name=f"Member {key}", last_seen=BEGIN)
            for tenant in tenants
            for key in keys_of(tenant, MEMBERS)
        )
        Project.objects.bulk_create(
            Project(pk=key, tenant_id=tenant, name=f"Project {key}")
            for tenant in tenants
            for key in keys_of(tenant, PROJECTS)
        )
        tickets = Ticket.objects.bulk_create(
            Ticket(
                tenant_id=tenant,
                project_id=chance.choice(keys_of(tenant, PROJECTS)),
                assignee_id=chance.choice(keys_of(tenant, MEMBERS)),
                number=number,
                title=f"Ticket {number}",
                state=chance.choice((OPEN, CLOSED)),
                is_urgent=chance.random() < 0.1,
            )
            for tenant in tenants
            for number in range(1, TICKETS + 1)
        )
        Note.objects.bulk_create(
            Note(ticket_id=ticket.pk, text="I can see it too.", created=BEGIN) for ticket in tickets
        )

    # Pages

    def enter(self, chance: Random, read: Read) -> Tenant:
        """Read what every page of a tenant needs."""
        slug = f"tenant-{self.tenants.draw(chance)}"
        tenant = read(TENANT, slug, lambda: Tenant.objects.get(slug=slug))
        settings = Setting.objects.filter(tenant=tenant)
        read(SETTINGS, tenant.pk, lambda: dict(settings.values_list("name", "value")))
        return tenant

    def open_ticket(self, chance: Random, read: Read) -> None:
        tenant, number = self.enter(chance, read), self.numbers.draw(chance)
        tickets = Ticket.objects.filter(tenant=tenant).select_related("project", "assignee")
        about = f"{tenant.pk}-{number}"
        ticket = read(TICKET, about, lambda: tickets.get(number=number))
        read(NOTES, ticket.pk, lambda: list(Note.objects.filter(ticket=ticket).order_by("pk")))

    def open_list(self, chance: Random, read: Read) -> None:
        tenant = self.enter(chance, read)
        still_open = Count("tickets", filter=Q(tickets__state=OPEN))
        projects = Project.objects.filter(tenant=tenant).annotate(open_tickets=still_open)
        read(PROJECT_LIST, tenant.pk, lambda: list(projects.order_by("name")))
        tickets = Ticket.objects.filter(tenant=tenant, state=OPEN).select_related("assignee")
        read(OPEN_LIST, tenant.pk, lambda: list(tickets.order_by("-number")[:25]))

    def open_dashboard(self, chance: Random, read: Read) -> None:
        tenant = self.enter(chance, read)
        states = Ticket.objects.filter(tenant=tenant).values("state").annotate(Count("pk"))
        read(STATES, tenant.pk, lambda: list(states.order_by("state")))
        urgent = Ticket.objects.filter(tenant=tenant, state=OPEN, is_urgent=True)
        read(URGENT, tenant.pk, urgent.exists)

    def open_member(self, chance: Random, read: Read) -> None:
        tenant = self.enter(chance, read)
        members = Member.objects.filter(tenant=tenant).order_by("name")
        found = read(MEMBER_LIST, tenant.pk, lambda: list(members.all()))
        member = found[chance.randrange(MEMBERS)]
        tickets = Ticket.objects.filter(tenant=tenant, assignee=member, state=OPEN)
        read(MINE, member.pk, lambda: list(tickets.order_by("-number")))

    # Writes

    def add_note(self, chance: Random, now: datetime) -> None:
        tenant, number = self.tenants.draw(chance), self.numbers.draw(chance)
        ticket = Ticket.objects.get(tenant_id=tenant, number=number)
        Note.objects.create(ticket=ticket, text=f"I saw it at {now}.", created=now)

    def change_state(self, chance: Random, now: datetime) -> None:
        tenant, number = self.tenants.draw(chance), self.numbers.draw(chance)
        ticket = Ticket.objects.get(tenant_id=tenant, number=number)
        ticket.state = CLOSED if ticket.state == OPEN else OPEN
        ticket.save()

    def open_new(self, chance: Random, now: datetime) -> None:
        tenant = self.tenants.draw(chance)
        Ticket.objects.create(
            tenant_id=tenant,
            project_id=chance.choice(keys_of(tenant, PROJECTS)),
            assignee_id=chance.choice(keys_of(tenant, MEMBERS)),
            number=TICKETS + 1 + int((now - BEGIN).total_seconds()),
            title=f"Ticket of {now}",
            state=OPEN,
            is_urgent=chance.random() < 0.1,
        )

    def stamp_member(self, chance: Random, now: datetime) -> None:
        member = chance.choice(keys_of(self.tenants.draw(chance), MEMBERS))
        Member.objects.filter(pk=member).update(last_seen=now)

    def change_setting(self, chance: Random, now: datetime) -> None:
        Setting.objects.update_or_create(
            tenant_id=self.tenants.draw(chance),
            name=chance.choice(NAMES),
            defaults={"value": f"as of {now}"},
        )

    # By hand

    def connect(self, forget: Forget) -> None:
        def tenant_changed(instance: Tenant, **others: Any) -> None:
            forget(TENANT, instance.slug)

        def setting_changed(instance: Setting, **others: Any) -> None:
            forget(SETTINGS, instance.tenant_id)

        def member_changed(instance: Member, **others: Any) -> None:
            forget(MEMBER_LIST, instance.tenant_id)

        def project_changed(instance: Project, **others: Any) -> None:
            forget(PROJECT_LIST, instance.tenant_id)

        def ticket_changed(instance: Ticket, **others: Any) -> None:
            forget(TICKET, f"{instance.tenant_id}-{instance.number}")
            forget(OPEN_LIST, instance.tenant_id)
            forget(MINE, instance.assignee_id)

        def note_changed(instance: Note, **others: Any) -> None:
            forget(NOTES, instance.ticket_id)

        for signal in (post_save, post_delete):
            signal.connect(tenant_changed, sender=Tenant, weak=False)
            signal.connect(setting_changed, sender=Setting, weak=False)
            signal.connect(member_changed, sender=Member, weak=False)
            signal.connect(project_changed, sender=Project, weak=False)
            signal.connect(ticket_changed, sender=Ticket, weak=False)
            signal.connect(note_changed, sender=Note, weak=False)


SITE = Tenants
