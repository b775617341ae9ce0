"""One fragment in a Django view and in an API view."""

from django.shortcuts import render
from rest_framework.authentication import SessionAuthentication
from rest_framework.permissions import AllowAny
from rest_framework.renderers import TemplateHTMLRenderer
from rest_framework.response import Response
from rest_framework.views import APIView


def who(request):
    return render(request, "people/who.html")


class WhoView(APIView):
    authentication_classes = (SessionAuthentication,)
    permission_classes = (AllowAny,)
    renderer_classes = (TemplateHTMLRenderer,)

    def get(self, request):
        return Response({}, template_name="people/who.html")
