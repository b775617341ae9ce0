from django.db import migrations, models

import testproject.pages.models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Page",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "slug",
                    models.SlugField(
                        help_text="The page is found at /address/.",
                        unique=True,
                        validators=[testproject.pages.models.refuse_taken_slug],
                        verbose_name="address",
                    ),
                ),
                ("title", models.CharField(max_length=100)),
                (
                    "summary",
                    models.CharField(
                        blank=True, help_text="One sentence for search engines.", max_length=200
                    ),
                ),
                (
                    "text",
                    models.TextField(
                        help_text="Markdown. HTML is allowed too; scripts and styles are taken out."
                    ),
                ),
                (
                    "menu_position",
                    models.PositiveSmallIntegerField(
                        blank=True,
                        help_text="Its place in the menu. Leave it empty to keep it out.",
                        null=True,
                    ),
                ),
                ("updated", models.DateTimeField(auto_now=True)),
            ],
            options={
                "ordering": ("menu_position", "title"),
            },
        ),
    ]
