"""The URLs of the CMS: one slug each."""

from django.urls import path

from testproject.pages import views

app_name = "pages"

urlpatterns = [path("<slug:slug>/", views.page, name="page")]
