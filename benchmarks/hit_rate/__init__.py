"""The share of reads that are hits while a site is written to, and the wrong answers among them."""
