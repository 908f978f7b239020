"""The face in the system tray: icon, menu, notifications."""
