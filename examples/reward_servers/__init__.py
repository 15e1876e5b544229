"""External reward servers: functions in TRL's reward protocol that load published reward models."""
