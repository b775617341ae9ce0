"""What the cache promises when its database fails: a miss, never the site's outage."""
