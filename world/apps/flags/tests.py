"""A flag or a setting that was changed is seen, however its package remembers it."""

from constance import config
from django.contrib.sites.models import Site
from django.core.cache import cache
from django.test import TransactionTestCase
from waffle import switch_is_active
from waffle.models import Switch

from cachelayers import cached
from cachelayers.invalidation.units import unit_of_work


@cached(timeout=300)
def switch_shown(number):
    return "beta" if switch_is_active("beta") else "stable"


@cached(timeout=300)
def greeting(number):
    return config.GREETING


@cached(timeout=300)
def site_name(number):
    return Site.objects.get_current().name


@cached(timeout=300)
def remembered(number):
    return cache.get("remembered")


class FlagTests(TransactionTestCase):
    def setUp(self):
        cache.clear()

    def test_a_switch(self):
        switch = Switch.objects.create(name="beta", active=False)
        for number in range(3):
            with unit_of_work():
                self.assertEqual(switch_shown(number), "stable")
        switch.active = True
        switch.save()
        for number in range(4):
            with unit_of_work():
                self.assertEqual(switch_shown(number), "beta", number)

    def test_a_setting(self):
        config.GREETING = "hello"
        for number in range(3):
            with unit_of_work():
                self.assertEqual(greeting(number), "hello")
        config.GREETING = "goodbye"
        for number in range(4):
            with unit_of_work():
                self.assertEqual(greeting(number), "goodbye", number)

    def test_the_site(self):
        Site.objects.clear_cache()
        Site.objects.update_or_create(pk=1, defaults={"name": "first", "domain": "first.test"})
        for number in range(3):
            with unit_of_work():
                self.assertEqual(site_name(number), "first")
        site = Site.objects.get(pk=1)
        site.name = "second"
        site.save()
        for number in range(4):
            with unit_of_work():
                self.assertEqual(site_name(number), "second", number)

    def test_what_was_kept_by_hand(self):
        cache.set("remembered", "old")
        for number in range(3):
            with unit_of_work():
                self.assertEqual(remembered(number), "old")
        cache.set("remembered", "new")
        for number in range(4):
            with unit_of_work():
                self.assertEqual(remembered(number), "new", number)
