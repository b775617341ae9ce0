"""The demo site keeps its promises in a real browser."""
