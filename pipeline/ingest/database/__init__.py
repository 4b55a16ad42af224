"""Tables of a PostgreSQL database → deliveries below landing, one a business day."""
