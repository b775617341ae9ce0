"""What the screens of the admin show and do. Knows no HTML and no request."""
