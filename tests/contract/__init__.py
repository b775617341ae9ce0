"""The promises that every cache backend of this package keeps, on every database."""
