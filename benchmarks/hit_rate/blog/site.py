"""The pages and the writes of the blog, as a site's authors would write them."""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random
from typing import Any

from django.db.models import Count
from django.db.models.signals import m2m_changed, post_delete, post_save

from benchmarks.hit_rate.blog.models import Author, Comment, Post, Tag
from benchmarks.hit_rate.workload import BEGIN, Forget, Read, Site, Zipf

AUTHORS, TAGS, POSTS = 30, 40, 300
POST, AUTHOR, COMMENTS = "post by slug", "author of a post", "comments of a post"
COUNT, TAGS_OF = "comment count of a post", "tags of a post"
FRONT, AUTHOR_BY_SLUG, POSTS_OF = "front page", "author by slug", "posts of an author"
TAG, TAGGED = "tag by slug", "posts of a tag"


class Blog(Site):
    def __init__(self) -> None:
        self.posts, self.authors, self.tags = Zipf(POSTS), Zipf(AUTHORS), Zipf(TAGS)
        self.pages = [
            (self.open_post, 70),
            (self.open_front, 10),
            (self.open_author, 10),
            (self.open_tag, 10),
        ]
        self.writes = [
            (self.add_comment, 60),
            (self.stamp_author, 20),
            (self.edit_title, 15),
            (self.save_unchanged, 5),
        ]
        self.timeouts = {FRONT: 60, TAGGED: 300, POSTS_OF: 300}

    def create_rows(self, chance: Random) -> None:
        Author.objects.bulk_create(
            Author(
                pk=number,
                name=f"Author {number}",
                slug=f"author-{number}",
                bio="Writes." * 20,
                last_seen=BEGIN,
            )
            for number in range(1, AUTHORS + 1)
        )
        Tag.objects.bulk_create(
            Tag(pk=number, name=f"Tag {number}", slug=f"tag-{number}")
            for number in range(1, TAGS + 1)
        )
        Post.objects.bulk_create(
            Post(
                pk=number,
                author_id=chance.randint(1, AUTHORS),
                slug=f"post-{number}",
                title=f"Post {number}",
                body="It was a dark and stormy night. " * 20,
                published=BEGIN - timedelta(hours=number),
            )
            for number in range(1, POSTS + 1)
        )
        Post.tags.through.objects.bulk_create(
            Post.tags.through(post_id=post, tag_id=tag)
            for post in range(1, POSTS + 1)
            for tag in sorted({self.tags.draw(chance) for _ in range(3)})
        )
        Comment.objects.bulk_create(
            Comment(
                post_id=chance.randint(1, POSTS),
                name=f"Reader {number}",
                text="I disagree. " * 5,
                created=BEGIN - timedelta(seconds=1 + number),
            )
            for number in range(POSTS * 4)
        )

    # Pages

    def open_post(self, chance: Random, read: Read) -> None:
        slug = f"post-{self.posts.draw(chance)}"
        post = read(POST, slug, lambda: Post.objects.get(slug=slug))
        read(AUTHOR, post.author_id, lambda: Author.objects.get(pk=post.author_id))
        read(COMMENTS, post.pk, lambda: list(Comment.objects.filter(post=post).order_by("created")))
        read(COUNT, post.pk, post.comments.count)
        read(TAGS_OF, post.pk, lambda: list(post.tags.order_by("name")))

    def open_front(self, chance: Random, read: Read) -> None:
        posts = Post.objects.filter(is_published=True).select_related("author")
        counted = posts.annotate(comment_count=Count("comments")).order_by("-published")
        read(FRONT, "", lambda: list(counted[:10]))

    def open_author(self, chance: Random, read: Read) -> None:
        slug = f"author-{self.authors.draw(chance)}"
        author = read(AUTHOR_BY_SLUG, slug, lambda: Author.objects.get(slug=slug))
        posts = Post.objects.filter(author=author, is_published=True).order_by("-published")
        read(POSTS_OF, author.pk, lambda: list(posts[:20]))

    def open_tag(self, chance: Random, read: Read) -> None:
        slug = f"tag-{self.tags.draw(chance)}"
        read(TAG, slug, lambda: Tag.objects.get(slug=slug))
        posts = Post.objects.filter(tags__slug=slug, is_published=True).select_related("author")
        read(TAGGED, slug, lambda: list(posts.order_by("-published")[:20]))

    # Writes

    def add_comment(self, chance: Random, now: datetime) -> None:
        post = self.posts.draw(chance)
        Comment.objects.create(post_id=post, name="Reader", text=f"First! {now}", created=now)

    def stamp_author(self, chance: Random, now: datetime) -> None:
        Author.objects.filter(pk=self.authors.draw(chance)).update(last_seen=now)

    def edit_title(self, chance: Random, now: datetime) -> None:
        post = Post.objects.get(pk=self.posts.draw(chance))
        post.title = f"Post {post.pk}, edited at {now}"
        post.save()

    def save_unchanged(self, chance: Random, now: datetime) -> None:
        Post.objects.get(pk=self.posts.draw(chance)).save()

    # By hand

    def connect(self, forget: Forget) -> None:
        def post_changed(instance: Post, **others: Any) -> None:
            forget(POST, instance.slug)
            forget(POSTS_OF, instance.author_id)
            forget(FRONT, "")

        def comment_changed(instance: Comment, **others: Any) -> None:
            forget(COMMENTS, instance.post_id)
            forget(COUNT, instance.post_id)

        def author_changed(instance: Author, **others: Any) -> None:
            forget(AUTHOR, instance.pk)
            forget(AUTHOR_BY_SLUG, instance.slug)

        def tags_changed(instance: Post, **others: Any) -> None:
            forget(TAGS_OF, instance.pk)

        for signal in (post_save, post_delete):
            signal.connect(post_changed, sender=Post, weak=False)
            signal.connect(comment_changed, sender=Comment, weak=False)
            signal.connect(author_changed, sender=Author, weak=False)
        m2m_changed.connect(tags_changed, sender=Post.tags.through, weak=False)


SITE = Blog
