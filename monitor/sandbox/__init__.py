"""A small portal to watch: a real Redis and PostgreSQL, a simulated BFF and vendors, and their outages."""
