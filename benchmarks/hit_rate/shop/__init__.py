"""A shop: products by category and by slug, stock, carts and orders."""
