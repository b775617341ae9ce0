"""Users see only their own data."""

from django.contrib.auth import get_user_model
from django.test import Client, TransactionTestCase
from django_otp import DEVICE_ID_SESSION_KEY
from django_otp.plugins.otp_static.models import StaticDevice


class WhoTests(TransactionTestCase):
    def setUp(self):
        User = get_user_model()
        self.ann, self.bob = User.objects.create_user("ann"), User.objects.create_user("bob")
        self.staff = User.objects.create_superuser("staff")

    def client_of(self, user, *, is_verified=False):
        client = Client()
        client.force_login(user)
        if is_verified:
            session = client.session
            device = StaticDevice.objects.create(user=user, confirmed=True)
            session[DEVICE_ID_SESSION_KEY] = device.persistent_id
            session.save()
        return client

    def assert_shown(self, visits):
        for path in ("/who/", "/api/"):
            for _ in range(2):
                for client, text in visits:
                    self.assertEqual(client.get(path).content.decode().strip(), text)

    def test_each_sees_his_own_name(self):
        self.assert_shown(
            [
                (self.client_of(self.ann), "ann"),
                (self.client_of(self.bob), "bob"),
                (Client(), "a guest"),
            ]
        )

    def test_a_second_factor_is_not_lent(self):
        verified = self.client_of(self.ann, is_verified=True)
        self.assert_shown([(verified, "ann, verified"), (self.client_of(self.ann), "ann")])

    def test_a_visit_of_staff_is_not_shown_to_the_user(self):
        visitor = self.client_of(self.staff)
        visitor.post("/hijack/acquire/", {"user_pk": self.ann.pk})
        self.assert_shown([(visitor, "ann, looked at by staff"), (self.client_of(self.ann), "ann")])
