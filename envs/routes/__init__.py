"""Planning and routes: a map, a delivery list or a traffic pattern to be held in memory."""
