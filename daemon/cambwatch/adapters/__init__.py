"""One outside thing each: Camb, the receivers, the database, the logs, systemd."""
