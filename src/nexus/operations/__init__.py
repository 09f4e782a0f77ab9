"""Operations: the system configuration, seen and changed while Nexus runs."""
