"""The speed of warming a site, beside a plain loop of Django's test client."""
