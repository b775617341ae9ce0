"""The forms of the screens, which check the names that users type."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django import forms
from django.conf import settings
from django.core.validators import ProhibitNullCharactersValidator
from django.utils.translation import gettext_lazy as _

from cachelayers.clearing import UnknownName, alias_named, goes_into_sessions, model_named
from cachelayers.conf import cache_settings
from cachelayers.dashboard import (
    KINDS,
    Choice,
    Wanted,
    checked_fragments,
    checked_tags,
    entry_stores,
    labels_of_tracked,
    row_named,
    row_tags,
)
from cachelayers.invalidation import USER_TAG

MOST_LINES = 1_000  # each needs a database query


class NamesField(forms.MultipleChoiceField):
    """Several names from a list; for a wrong one the error suggests similar names."""

    def __init__(self, *, find: Callable[[str], Any], **options: Any) -> None:
        """``find`` returns the object with a name, or raises UnknownName."""
        super().__init__(required=False, **options)
        self.find = find

    def validate(self, value: Any) -> None:
        for name in value:
            _found(self.find, name)


class LinesField(forms.CharField):
    """One name per line."""

    widget = forms.Textarea

    def __init__(self, **options: Any) -> None:
        attributes = {"rows": 2, "cols": 40, "spellcheck": "false"}
        super().__init__(required=False, widget=forms.Textarea(attributes), **options)

    def to_python(self, value: Any) -> Any:
        """Return the lines that are not blank."""
        text = super().to_python(value) or ""
        # Django's own validator runs later, and does not look into a list.
        ProhibitNullCharactersValidator()(text)
        lines = text.splitlines()
        found = [line.strip() for line in lines if line.strip()]
        if len(found) > MOST_LINES:
            raise forms.ValidationError(
                _("%(count)d lines are too many: give at most %(most)d at once."),
                params={"count": len(found), "most": MOST_LINES},
            )
        return found


class InvalidateForm(forms.Form):
    """What to invalidate or clear."""

    words = LinesField(label=_("Tags"), help_text=_("As given in tags=[...]. One in each line."))
    fragments = LinesField(
        label=_("Fragments"), help_text=_("Names of template fragments. One in each line.")
    )
    models = NamesField(
        label=_("Models"),
        find=model_named,
        help_text=_("Everything that was made from any of their rows."),
    )
    rows = LinesField(
        label=_("Single rows"),
        help_text=_("Model and primary key, such as: shop.Product 42. One in each line."),
    )
    aliases = NamesField(
        label=_("Caches"),
        find=alias_named,
        widget=forms.CheckboxSelectMultiple,
        help_text=_("Everything in them is removed; with a prefix, only what begins with it."),
    )
    key_prefix = forms.CharField(
        label=_("Prefix of keys"),
        required=False,
        strip=False,
        max_length=250,
        help_text=_("As given to cache.set(), in the caches chosen or else in all."),
    )
    unused_for = forms.IntegerField(
        label=_("Unused for seconds"),
        required=False,
        min_value=60,
        help_text=_(
            "Only entries that were not written for so long, and not seen to be read, in the caches"
            " chosen or else in all that know. A table with a bound notes one read in sixteen."
        ),
    )

    # The permission for each field.
    NEEDS = {
        "invalidate_entries": ("words", "fragments", "models", "rows"),
        "clear_caches": ("aliases", "key_prefix", "unused_for"),
    }

    def __init__(self, *arguments: Any, permissions: Iterable[str], **options: Any) -> None:
        """``permissions`` of the user decide which fields there are."""
        super().__init__(*arguments, **options)
        for permission, names in self.NEEDS.items():
            if permission not in permissions:
                for name in names:
                    del self.fields[name]
        if "models" in self.fields:
            labels = labels_of_tracked()
            self._choices("models", ((label, label) for label in labels))
            self.fields["models"].widget.attrs["size"] = min(8, max(2, len(labels)))
        if "aliases" in self.fields:
            self._choices("aliases", ((alias, described(alias)) for alias in settings.CACHES))

    def clean_words(self) -> list[str]:
        words: list[str] = self.cleaned_data["words"]
        return list(_found(checked_tags, words))

    def clean_fragments(self) -> list[str]:
        names: list[str] = self.cleaned_data["fragments"]
        return list(_found(checked_fragments, names))

    def clean_rows(self) -> list[Any]:
        return [_found(row_named, text) for text in self.cleaned_data["rows"]]

    def clean_key_prefix(self) -> str:
        """Refuse a prefix within session keys, because its matches would reveal the keys."""
        prefix: str = self.cleaned_data["key_prefix"]
        if goes_into_sessions(prefix):
            raise forms.ValidationError(
                _("Single sessions cannot be chosen: their keys are secret.")
            )
        return prefix

    def clean(self) -> dict[str, Any]:
        """Check that anything was chosen."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if not self.errors and not any(cleaned.get(name) for name in self.fields):
            raise forms.ValidationError(_("Nothing was chosen. Name at least one target."))
        if cleaned.get("key_prefix") and cleaned.get("unused_for"):
            raise forms.ValidationError(_("Give a prefix or a time, not both."))
        return cleaned

    def choice(self) -> Choice:
        """Return the choice. Call it on a valid form."""
        cleaned = self.cleaned_data
        return Choice(
            tags=tuple(cleaned.get("words", ())),
            fragments=tuple(cleaned.get("fragments", ())),
            models=tuple(model_named(label) for label in cleaned.get("models", ())),
            rows=tuple(cleaned.get("rows", ())),
            aliases=tuple(cleaned.get("aliases", ())),
            prefix=cleaned.get("key_prefix", ""),
            unused_for=cleaned.get("unused_for"),
        )

    def as_typed(self) -> Iterator[tuple[str, str]]:
        """Yield the submitted names and values, for the hidden fields of the confirmation."""
        for name in self.fields:
            for value in self.data.getlist(name):  # type: ignore[attr-defined] # a QueryDict
                yield name, value

    def _choices(self, name: str, choices: Iterable[tuple[str, Any]]) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101 - for the type checker
        field.choices = list(choices)


class LogForm(forms.Form):
    """Selects rows of the log."""

    database = forms.ChoiceField(label=_("Database"), required=False)
    kind = forms.ChoiceField(
        label=_("What"),
        required=False,
        choices=[("", _("Everything")), *((kind, name) for kind, (_head, name) in KINDS.items())],
    )
    text = forms.CharField(label=_("Search"), required=False, max_length=200)
    before = forms.IntegerField(required=False, min_value=1, widget=forms.HiddenInput)

    def __init__(self, *arguments: Any, databases: list[str], **options: Any) -> None:
        """``databases``: the aliases that have a log."""
        super().__init__(*arguments, **options)
        field = self.fields["database"]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101 - for the type checker
        field.choices = [(database, database) for database in databases]
        if len(databases) == 1:
            field.widget = forms.HiddenInput()


class EntriesForm(forms.Form):
    """Selects entries of a cache."""

    alias = forms.CharField(label=_("Cache"), widget=forms.Select)
    text = forms.CharField(label=_("Part of the key"), required=False, max_length=200, strip=False)
    row = forms.CharField(
        label=_("Made from the row"),
        required=False,
        max_length=500,
        help_text=_("Model and primary key, such as: shop.Product 42."),
    )
    tag = forms.CharField(
        label=_("Made from the tag"),
        required=False,
        max_length=255,
        help_text=_("As given in tags=[...], or as in the log."),
    )
    min_bytes = forms.IntegerField(label=_("At least so many bytes"), required=False, min_value=0)
    after = forms.CharField(required=False, max_length=2_000, widget=forms.HiddenInput)
    entry = forms.CharField(required=False, max_length=8_000, widget=forms.HiddenInput)

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Offer the caches that have entries of their own."""
        super().__init__(*arguments, **options)
        widget = self.fields["alias"].widget
        assert isinstance(widget, forms.Select)  # noqa: S101 - for the type checker
        widget.choices = [(alias, described(alias)) for alias in entry_stores()]

    def clean_alias(self) -> str:
        alias = str(self.cleaned_data["alias"])
        return alias if alias in entry_stores() else str(_found(alias_named, alias))

    def clean_row(self) -> Any:
        """Return the row, or "" if none is given."""
        text = self.cleaned_data["row"]
        return _found(row_named, text) if text else ""

    def wanted(self) -> Wanted:
        """Return what to search for. Call it on a valid form."""
        cleaned = self.cleaned_data
        row, tag = cleaned["row"], cleaned["tag"]
        tags = row_tags(row) if row else frozenset()
        if tag:
            tags |= {tag, f"{USER_TAG}{tag}"}
        return Wanted(cleaned["text"], tags, cleaned["min_bytes"] or 0)

    def asked(self) -> dict[str, str]:
        """Return what was typed, for links. Call it on a valid form."""
        names = ("alias", "text", "row", "tag", "min_bytes")
        return {name: self.data.get(name, "") for name in names if self.data.get(name)}


def described(alias: str) -> str:
    """Return an alias with its backend's class."""
    backend = str(cache_settings(alias).get("BACKEND", "")).rpartition(".")[2]
    return f"{alias} ({backend})"


def _found(find: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    try:
        return find(*arguments, **options)
    except UnknownName as error:
        raise forms.ValidationError(str(error)) from error
