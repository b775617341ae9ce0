"""Programs made at random: rows, queries and writes; each hit is compared with the database."""
