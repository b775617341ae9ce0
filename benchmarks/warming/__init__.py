"""How quickly a site is warmed, beside a plain loop of Django's test client."""
