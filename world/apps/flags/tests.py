"""Flags and settings that packages store in the cache."""

from constance import config
from django.core.cache import cache
from django.test import TransactionTestCase
from waffle import switch_is_active
from waffle.models import Switch

from cachelayers import cached
from cachelayers.invalidation.units import unit_of_work


@cached(timeout=300)
def shown_with(is_beta, greeting):
    return f"{greeting} {'beta' if is_beta else 'stable'}"


@cached(timeout=300)
def asked_within(number):
    return "beta" if switch_is_active("beta") else "stable"


@cached(timeout=300)
def remembered(number):
    return cache.get("remembered")


class FlagTests(TransactionTestCase):
    def setUp(self):
        cache.clear()

    def assert_shown(self, text):
        for _ in range(2):
            with unit_of_work():
                shown = shown_with(switch_is_active("beta"), config.GREETING)
            self.assertEqual(shown, text)

    def test_what_is_an_argument_is_seen_at_once(self):
        config.GREETING = "hello"
        switch = Switch.objects.create(name="beta", active=False)
        self.assert_shown("hello stable")
        switch.active = True
        switch.save()
        self.assert_shown("hello beta")
        config.GREETING = "goodbye"
        self.assert_shown("goodbye beta")

    def test_a_flag_that_its_package_remembers_is_named(self):
        Switch.objects.create(name="beta", active=False)
        switch_is_active("beta")
        with self.assertLogs("cachelayers.invalidation", "WARNING") as logged, unit_of_work():
            self.assertEqual(asked_within(1), "stable")
        self.assertIn("plain get()", logged.output[0])

    def test_a_value_kept_by_hand_is_named_with_its_place(self):
        cache.set("remembered", "old")
        with self.assertLogs("cachelayers.invalidation", "WARNING") as logged, unit_of_work():
            self.assertEqual(remembered(1), "old")
        self.assertIn("flags/tests.py", logged.output[0])
