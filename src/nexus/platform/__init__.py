"""What every slice stands on: settings, telemetry, database, Redis, jobs and the glue to the web framework."""
