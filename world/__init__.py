"""Tests of projects made by ``django-admin`` and run by their own commands, like those of users."""
