"""Users: profiles, presence, typing, notifications, ended sessions, deleted accounts."""
