"""Starting at login: an XDG autostart entry, a systemd user unit, or Windows' Run key."""
