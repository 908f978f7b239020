"""The set-up procedure, one file a chapter; each offers reversible steps. Nothing else changes a
user's machine, and these only within a transaction of `tfgpu_tray.repair`.
"""
