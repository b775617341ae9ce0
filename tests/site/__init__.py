"""The demo site keeps its promises to readers and editors."""
